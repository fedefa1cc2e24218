"""What is measured: models, the forms that they take, and the sizes of a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audioptq.errors import UserError, did_you_mean
from audioptq.quantize.recipe.recipe import QuantRecipe

BASELINE = "eager_fp32"
# Forms that no recipe of ours makes: how their products run.
REFERENCES = {
    BASELINE: "float",
    "eager_bf16": "float",
    "compiled_bf16": "float",
    "torchao_int8": "integer",
    "torchao_int8_compiled": "integer",
    "torchao_int4": "float",
}
IN_BFLOAT16 = ("eager_bf16", "compiled_bf16", "torchao_int4")
STEP, GENERATION = "step", "generation"


@dataclass(frozen=True)
class BenchModel:
    """A model directory.

    Attributes:
        name: What it is called.
        folder: Its directory.
        weights: `trained`, or `random`: these serve for speed and size, and say nothing of quality.
        text_encoder: Directory of its text encoder, where that lies apart.
    """

    name: str
    folder: str
    weights: str = "trained"
    text_encoder: str | None = None


@dataclass(frozen=True)
class Form:
    """A model's form: one of `REFERENCES`, or a recipe with its compute.

    Attributes:
        name: Of the reference or the recipe.
        compute: `float`, `simulated` or `integer`.
        recipe: The recipe's entry; None for a reference.
    """

    name: str
    compute: str
    recipe: dict[str, Any] | None = None

    @property
    def is_compiled(self) -> bool:
        """Whether torch's compiler is at work."""
        return self.recipe is None and "compiled" in self.name

    @property
    def dtype(self) -> str:
        """In which its products run that are not of integers."""
        return str((self.recipe or {}).get("dtype", "bfloat16" if self.name in IN_BFLOAT16 else "float32"))


@dataclass(frozen=True)
class Case:
    """The size of what is timed: a guided step on `latents` frames of `batch` clips, or a whole generation."""

    latents: int
    batch: int
    what: str = STEP


@dataclass(frozen=True)
class BenchSettings:
    """A run of the bench.

    Attributes:
        models: Models, one after the other.
        forms: Forms of each; the baseline comes with them.
        latents: Frames of a clip.
        batches: Clips of a step; its pass has twice as many, for the guidance.
        repeats: Rounds of each form and size, and of a generation no more than 3.
        sampler: Fields of `SamplerSettings`; steps walk through its noise levels.
        limit_seconds: Longest wait for one answer of a form; one that takes longer is given up. Rounds end after as long.
        threads: Of each process; None for torch's own choice.
        generations: Whether whole generations are timed; None for only where there is a GPU.
        seed: Of random inputs and statistics, and of the intervals.
    """

    models: tuple[BenchModel, ...]
    forms: tuple[Form, ...]
    latents: tuple[int, ...]
    batches: tuple[int, ...]
    repeats: int
    sampler: dict[str, Any] = field(default_factory=dict)
    limit_seconds: float = 120.0
    threads: int | None = None
    generations: bool | None = None
    seed: int = 0

    def cases(self) -> list[Case]:
        """Sizes of a step, the smaller before the larger: the peak of memory of a process then belongs to its last one."""
        sizes = [Case(latents, batch) for latents in set(self.latents) for batch in set(self.batches)]
        return sorted(sizes, key=lambda case: (case.latents * case.batch, case.latents))


def choose_forms(names: Sequence[str], recipes: Mapping[str, Any]) -> tuple[Form, ...]:
    """The forms that a user names, each once, the baseline first.

    Args:
        names: References, recipes (in every compute that they have), or recipes with one, as in `w4a8_sqs:integer`.
        recipes: The library.

    Raises:
        UserError: If there is no such form, or the recipe does not compute like that.
    """
    forms: dict[tuple[str, str], Form] = {}
    for name in (BASELINE, *names):
        recipe, _, wanted = name.partition(":")
        if name in REFERENCES:
            forms[name, REFERENCES[name]] = Form(name, REFERENCES[name])
            continue
        if recipe not in recipes:
            known = [*REFERENCES, *recipes]
            raise UserError(
                f"The bench knows no form {name!r}.{did_you_mean(recipe, known)} It has {', '.join(known)}."
            )
        own = QuantRecipe.from_config(recipe, recipes[recipe]).compute
        computes = ["float"] if own == "float" else ["simulated", "integer"]
        if wanted and wanted not in computes:
            raise UserError(f"Recipe {recipe} has no compute {wanted!r} in the bench: it has {', '.join(computes)}.")
        for compute in [wanted] if wanted else computes:
            forms[recipe, compute] = Form(recipe, compute, dict(recipes[recipe] or {}))
    return tuple(forms.values())
