"""Which evaluators there are, the metrics they serve and the files they read, found without importing a network.

An evaluator is one file of `audioptq.embed` with literals at its top, `METRICS`, `WEIGHTS` and, where there is a limit,
`MAX_SECONDS`. They are read from the source: the workflow asks for them each time it starts, and importing torch would take seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from audioptq.errors import UserError, did_you_mean
from audioptq.files.literals import literals_of

PACKAGE = Path(__file__).parent
LITERALS = ("METRICS", "WEIGHTS", "MAX_SECONDS")


@dataclass(frozen=True)
class EvaluatorInfo:
    """What an evaluator's file says of itself.

    Attributes:
        id: Name of the file without its ending.
        path: The file.
        metrics: Metric id -> `statistic` (clap, kl, fd, fad), `label` and, where it is not the statistic's own, `target`: `fp32`
            for the distance to full precision's clips.
        weights: Variant -> names of the files it reads in workflow/weights.tsv or in the config's `weights`; the first
            variant is the default.
        max_seconds: Longest clip that it takes; None if there is no limit.
    """

    id: str
    path: Path
    metrics: Mapping[str, Mapping[str, str]]
    weights: Mapping[str, Sequence[str]]
    max_seconds: float | None = None

    def variant(self, name: str | None) -> str:
        """A variant by name, the default for None.

        Raises:
            UserError: If there is no such variant.
        """
        if name is None:
            return next(iter(self.weights))
        if name not in self.weights:
            raise UserError(
                f"The evaluator {self.id} has no variant {name!r}; it has {', '.join(self.weights)}. "
                f"Mend `evaluators.{self.id}.variant` in the config."
            )
        return name


@cache
def evaluators(folder: Path = PACKAGE / "embed") -> dict[str, EvaluatorInfo]:
    """Every evaluator by its id, in the order of the file names."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        literals = literals_of(path, LITERALS)
        if "METRICS" in literals:
            found[path.stem] = EvaluatorInfo(
                path.stem, path, literals["METRICS"], literals["WEIGHTS"], literals.get("MAX_SECONDS")
            )
    return found


def evaluator_info(name: str) -> EvaluatorInfo:
    """Looks an evaluator up by its id.

    Raises:
        UserError: If there is none; the text names the nearest one.
    """
    known = evaluators()
    if name not in known:
        hint = did_you_mean(name, known)
        raise UserError(f"There is no evaluator {name!r}.{hint} Known evaluators: {', '.join(known)}.")
    return known[name]
