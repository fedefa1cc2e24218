"""The sections of a recipe, as immutable values with their rules, and what one layer gets of them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from audioptq.quantize.recipe.options import RecipeError, check_fields, check_keys, count, number, one_of, read_section
from audioptq.quantize.rounding import roundings

AUTO = "auto"
TOLERANCE_BITS = 0.15
MAX_TIMESTEP_GROUPS = 8


@dataclass(frozen=True)
class WeightSpec:
    """How weights are quantized: symmetric integers in `[-qmax, qmax]`, `qmax = 2^(bits-1) - 1`.

    Attributes:
        bits: Width of a stored weight.
        granularity: Which weights share a scale: all, those of an output channel, or those of an output channel and some input
            channels: `group_size` neighbours (`per_group`), or one of the parts of which the layer's input is concatenated
            (`per_concat_group`: Q-Diffusion's split shortcut).
        group_size: Input channels in a group, for `per_group`; the last group may be smaller.
        rounding: Rule that maps weights to integers and their scales: a file of `quantize.rounding`.
    """

    GONE: ClassVar = {"concat_channels": "is gone: the model says which channels are concatenated. Remove the key."}

    bits: int = one_of(8, 4, 3, 2)
    granularity: str = one_of("per_channel", "per_tensor", "per_group", "per_concat_group", default="per_channel")
    group_size: int | None = count(default=None)
    rounding: str = one_of(*roundings(), default="nearest")

    def __post_init__(self) -> None:
        check_fields(self)
        _belongs(self, "group_size", "granularity", ("per_group",))


@dataclass(frozen=True)
class ActivationSpec:
    """How the inputs of linear layers are quantized.

    Attributes:
        bits: Width of a quantized activation.
        range: `dynamic` takes the range from the live tensor, `static` from calibration.
        granularity: `per_token` (the default of dynamic ranges), `per_tensor` (the default of static ones), or
            `per_channel`, the paper's per-input-channel scales: no integer product can apply them, so simulated only.
    """

    bits: int = one_of(8, 4)
    range: str = one_of("dynamic", "static", default="dynamic")
    granularity: str | None = one_of("per_token", "per_tensor", "per_channel", default=None)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.granularity is None:
            object.__setattr__(self, "granularity", "per_token" if self.range == "dynamic" else "per_tensor")
        if self.range == "static" and self.granularity == "per_token":
            raise RecipeError(
                "granularity",
                "is per_token with a static range: calibration cannot know the tokens of a clip. "
                "Use `range: dynamic`, or `granularity: per_tensor`.",
            )


@dataclass(frozen=True)
class SmoothingSpec:
    """How ranges are moved from activations to weights (eqs. 3-5 of the audio-DiT paper).

    Attributes:
        kind: One vector for all timesteps (`static`), one per timestep, or one per group of timesteps (`grouped`).
        alpha: Strength in `[0, 1]`; 0 evens out the weights, 1 the activations.
        groups: Number of timestep groups, for `grouped`, the same for every layer; or `auto`: as few as each layer needs, and
            where that is one, static smoothing.
        tolerance: For `auto`: how far the vectors of a layer's timestep groups may be from those of its timesteps, bits (root
            mean square; see `timestep_groups.smoothing_gap`).
        max_groups: For `auto`: most timestep groups of a layer, whatever is left.
        form: `stored` rescales the stored integers at each timestep (what one can ship); `simulated` quantizes the
            full-precision weight anew at each timestep (the reference, whose file holds that weight).
    """

    kind: str = one_of("static", "timestep", "grouped")
    alpha: float = number(0.0, 1.0, default=0.5)
    groups: int | str | None = count(AUTO, default=None)
    tolerance: float | None = number(0.0, 16.0, default=None)
    max_groups: int | None = count(default=None)
    form: str | None = one_of("stored", "simulated", default=None)

    def __post_init__(self) -> None:
        check_fields(self)
        _belongs(self, "groups", "kind", ("grouped",))
        for name, default in (("tolerance", TOLERANCE_BITS), ("max_groups", MAX_TIMESTEP_GROUPS)):
            if self.groups == AUTO and getattr(self, name) is None:
                object.__setattr__(self, name, default)
            _belongs(self, name, "groups", (AUTO,))
        if self.kind != "static" and self.form is None:
            object.__setattr__(self, "form", "stored")
        _belongs(self, "form", "kind", ("timestep", "grouped"))


@dataclass(frozen=True)
class LowRankSpec:
    """A 16-bit branch of low rank beside the quantized weight.

    Attributes:
        rank: Rank of the branch; a smaller layer takes as much as its shape allows.
        of: `error` decomposes what quantization lost (eqs. 6-9 of the audio-DiT paper); `weight` decomposes the
            smoothed weight first and quantizes the residual (SVDQuant).
    """

    rank: int = count()
    of: str = one_of("error", "weight", default="error")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class LayerRecipe:
    """What one layer gets: a recipe with its globs resolved."""

    weight: WeightSpec | None
    activation: ActivationSpec | None
    smoothing: SmoothingSpec | None = None
    low_rank: LowRankSpec | None = None
    dtype: str = "float32"

    @property
    def is_quantized(self) -> bool:
        """Whether anything is left to do: an override may switch both operands off."""
        return self.weight is not None or self.activation is not None

    @property
    def keeps_weight(self) -> bool:
        """Whether the full-precision weight is needed at every timestep."""
        return self.weight is None or (self.smoothing is not None and self.smoothing.form == "simulated")

    @property
    def is_folded(self) -> bool:
        """Whether smoothing, if any, was folded into the stored weight once."""
        return self.smoothing is None or self.smoothing.kind == "static"

    def settled(self, rows: int) -> "LayerRecipe":
        """What a layer with so many smoothing vectors is: automatic timestep groups that came out as one are static."""
        if self.smoothing is None or self.smoothing.groups != AUTO or rows > 1:
            return self
        return dataclasses.replace(self, smoothing=SmoothingSpec("static", self.smoothing.alpha))

    def to_config(self) -> dict[str, Any]:
        """A JSON-able record; `from_config` reads it back."""
        return record_of(self)

    @classmethod
    def from_config(cls, entry: Mapping[str, Any], key: str) -> "LayerRecipe":
        """Reads what `to_config` wrote; `key` is named in errors."""
        check_keys(entry, [field.name for field in dataclasses.fields(cls)], key)
        return cls(**read_sections(entry, key), dtype=entry.get("dtype", "float32"))


SECTIONS: dict[str, type] = {
    "weight": WeightSpec,
    "activation": ActivationSpec,
    "smoothing": SmoothingSpec,
    "low_rank": LowRankSpec,
}


def read_sections(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Reads the sections of a mapping found under `key`; one that is absent or null is None."""
    return {
        name: None if entry.get(name) is None else read_section(kind, entry[name], f"{key}.{name}")
        for name, kind in SECTIONS.items()
    }


def _belongs(section: Any, name: str, switch: str, values: tuple[str, ...]) -> None:
    """Field `name` must be given exactly when field `switch` has one of `values`."""
    is_given, is_wanted = getattr(section, name) is not None, getattr(section, switch) in values
    if is_wanted and not is_given:
        raise RecipeError(name, f"is missing: `{switch}: {getattr(section, switch)}` needs it.")
    if is_given and not is_wanted:
        raise RecipeError(name, f"goes only with `{switch}: {' or '.join(values)}`; remove it or change `{switch}`.")


def record_of(section: Any) -> dict[str, Any]:
    """A section, or all of a recipe, without its None entries, tuples as lists: what YAML and JSON hold."""
    return _without_none(dataclasses.asdict(section))


def _without_none(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
        for key, value in record.items()
        if value is not None
    }
