"""A quantization recipe: what is done to the linear layers of a model, as immutable values with their rules."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from audioptq.artifacts import digest
from audioptq.quantize.options import RecipeError, check_fields, check_keys, count, number, one_of, read_section

FLOAT_BITS = {"float32": 32, "bfloat16": 16}


@dataclass(frozen=True)
class WeightSpec:
    """How weights are quantized: symmetric integers in `[-qmax, qmax]`, `qmax = 2^(bits-1) - 1`.

    Attributes:
        bits: Width of a stored weight.
        granularity: Which weights share a scale: all, those of an output channel, or those of an output channel and a
            group of input channels: `group_size` neighbours, or the parts of a concatenated input.
        group_size: Input channels in a group, for `per_group`; the last group may be smaller.
        concat_channels: Sizes of the concatenated parts, for `per_concat_group` (Q-Diffusion's split shortcut).
        rounding: Rule that maps a weight to an integer.
    """

    bits: int = one_of(8, 4, 3, 2)
    granularity: str = one_of("per_channel", "per_tensor", "per_group", "per_concat_group", default="per_channel")
    group_size: int | None = count(default=None)
    concat_channels: tuple[int, ...] | None = None
    rounding: str = one_of("nearest", default="nearest")

    def __post_init__(self) -> None:
        check_fields(self)
        _belongs(self, "group_size", "granularity", ("per_group",))
        _belongs(self, "concat_channels", "granularity", ("per_concat_group",))
        if self.concat_channels is not None:
            object.__setattr__(self, "concat_channels", _channels(self.concat_channels))


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
        groups: Number of groups, for `grouped`.
        form: `stored` rescales the stored integers at each timestep (what one can ship); `simulated` quantizes the
            full-precision weight anew at each timestep (the reference, whose file holds that weight).
    """

    kind: str = one_of("static", "timestep", "grouped")
    alpha: float = number(0.0, 1.0, default=0.5)
    groups: int | None = count(default=None)
    form: str | None = one_of("stored", "simulated", default=None)

    def __post_init__(self) -> None:
        check_fields(self)
        _belongs(self, "groups", "kind", ("grouped",))
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
class LayerOverride:
    """Other weights or activations for the layers whose names match `glob`; None leaves that operand in float."""

    glob: str
    weight: WeightSpec | None
    activation: ActivationSpec | None


@dataclass(frozen=True)
class LayerSpec:
    """Which layers take part, as globs over their names (`*` also crosses dots); the last override that fits wins."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    overrides: tuple[LayerOverride, ...] = ()


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

    def to_config(self) -> dict[str, Any]:
        """A JSON-able record; `from_config` reads it back."""
        return _without_none(dataclasses.asdict(self))

    @classmethod
    def from_config(cls, entry: Mapping[str, Any], key: str) -> "LayerRecipe":
        """Reads what `to_config` wrote; `key` is named in errors."""
        check_keys(entry, [field.name for field in dataclasses.fields(cls)], key)
        return cls(**_sections(entry, key), dtype=entry.get("dtype", "float32"))


@dataclass(frozen=True)
class QuantRecipe:
    """A named recipe: one entry of `recipes` in the config and one row of the table.

    Attributes:
        name: Label only; parameters are never parsed out of it.
        weight: None keeps weights in float.
        activation: None keeps activations in float.
        smoothing: None leaves ranges where they are.
        low_rank: None adds no branch.
        layers: Which layers take part.
        dtype: Arithmetic of what is not quantized in the chosen layers.
        rest_dtype: How float32 tensors that are not quantized are stored; float16 beside quantized weights, else `dtype`.
    """

    name: str
    weight: WeightSpec | None = None
    activation: ActivationSpec | None = None
    smoothing: SmoothingSpec | None = None
    low_rank: LowRankSpec | None = None
    layers: LayerSpec = LayerSpec()
    dtype: str = one_of("float32", "bfloat16", default="float32")
    rest_dtype: str | None = one_of("float32", "float16", "bfloat16", default=None)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.rest_dtype is None:
            object.__setattr__(self, "rest_dtype", self.dtype if self.weight is None else "float16")
        if self.low_rank is not None and self.weight is None:
            raise RecipeError("low_rank", "needs quantized weights: add `weight`, or remove `low_rank`.")
        if self.smoothing is not None and self.weight is None and self.activation is None:
            raise RecipeError("smoothing", "changes nothing without `weight` or `activation`: add one, or remove it.")

    @classmethod
    def from_config(cls, name: str, entry: Mapping[str, Any] | None) -> "QuantRecipe":
        """Reads the entry `recipes.{name}` of a config; an empty entry is full precision.

        Raises:
            RecipeError: (a UserError) If a key is unknown or a value illegal; it names the key path and what is legal.
        """
        key, entry = f"recipes.{name}", {} if entry is None else entry
        check_keys(entry, [field.name for field in dataclasses.fields(cls) if field.name != "name"], key)
        sections = _sections(entry, key)
        dtypes = {kind: entry[kind] for kind in ("dtype", "rest_dtype") if kind in entry}
        layers = _read_layers(entry.get("layers", {}), entry, f"{key}.layers")
        try:
            return cls(name, **sections, layers=layers, **dtypes)
        except RecipeError as error:
            raise error.under(key) from None

    def to_config(self) -> dict[str, Any]:
        """The entry that `from_config` reads back to this recipe, defaults spelt out."""
        entry = _without_none(dataclasses.asdict(self))
        del entry["name"]
        entry["layers"]["overrides"] = {
            override.glob: {
                "weight": override.weight and _without_none(dataclasses.asdict(override.weight)),
                "activation": override.activation and dataclasses.asdict(override.activation),
            }
            for override in self.layers.overrides
        }
        return entry

    def for_layer(self, name: str) -> LayerRecipe:
        """What the layer `name` gets, overrides applied."""
        weight, activation = self.weight, self.activation
        for override in self.layers.overrides:
            if fnmatchcase(name, override.glob):
                weight, activation = override.weight, override.activation
        low_rank = self.low_rank if weight is not None else None
        return LayerRecipe(weight, activation, self.smoothing, low_rank, self.dtype)

    @property
    def weight_bits(self) -> int:
        """Bits of a weight in the chosen layers (overrides aside)."""
        return self.weight.bits if self.weight is not None else FLOAT_BITS[self.dtype]

    @property
    def act_bits(self) -> int:
        """Bits of an activation that enters the matrix products (overrides aside)."""
        return self.activation.bits if self.activation is not None else FLOAT_BITS[self.dtype]

    @property
    def activations(self) -> tuple[ActivationSpec, ...]:
        """Every activation spec that some layer may get."""
        specs = [self.activation, *(override.activation for override in self.layers.overrides)]
        return tuple(spec for spec in specs if spec is not None)

    @property
    def compute(self) -> str:
        """How the products of quantized layers run: `float`, or `simulated` where quantized activations are floats.

        A backend that multiplies integers reports `integer` here.
        """
        return "simulated" if self.activations else "float"

    @property
    def needs_calibration(self) -> bool:
        """Whether activation statistics are needed: for smoothing and for static ranges."""
        return self.smoothing is not None or any(spec.range == "static" for spec in self.activations)

    @property
    def digest(self) -> str:
        """SHA-256 of the parameters; recipes that differ only in name share it."""
        return digest(self.to_config())


SECTIONS: dict[str, type] = {
    "weight": WeightSpec,
    "activation": ActivationSpec,
    "smoothing": SmoothingSpec,
    "low_rank": LowRankSpec,
}


def _sections(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    given = {name: entry[name] for name in SECTIONS if entry.get(name) is not None}
    absent = {name: None for name in SECTIONS if name not in given}
    return absent | {name: read_section(SECTIONS[name], value, f"{key}.{name}") for name, value in given.items()}


def _read_layers(entry: Any, recipe: Mapping[str, Any], key: str) -> LayerSpec:
    check_keys(entry, ("include", "exclude", "overrides"), key)
    globs = {}
    for name in ("include", "exclude"):
        if name in entry:
            patterns = entry[name]
            if isinstance(patterns, str) or not all(isinstance(pattern, str) for pattern in patterns):
                raise RecipeError(f"{key}.{name}", f"is {patterns!r}; it must be a list of globs over layer names.")
            globs[name] = tuple(patterns)
    overrides = entry.get("overrides") or {}
    return LayerSpec(
        **globs, overrides=tuple(_read_override(glob, overrides[glob], recipe, key) for glob in overrides)
    )


def _read_override(glob: str, entry: Any, recipe: Mapping[str, Any], key: str) -> LayerOverride:
    """Keys of an override are laid over the recipe's own; null switches the operand off."""
    path = f"{key}.overrides.{glob}"
    check_keys(entry, ("weight", "activation"), path)
    specs: dict[str, Any] = {}
    for name in ("weight", "activation"):
        changes = entry.get(name, {})
        base = recipe.get(name)
        is_off = changes is None or (base is None and name not in entry)
        merged = {**(base or {}), **changes} if isinstance(changes, Mapping) else changes
        specs[name] = None if is_off else read_section(SECTIONS[name], merged, f"{path}.{name}")
    return LayerOverride(glob, **specs)


def _belongs(section: Any, name: str, switch: str, values: tuple[str, ...]) -> None:
    """Field `name` must be given exactly when field `switch` has one of `values`."""
    is_given, is_wanted = getattr(section, name) is not None, getattr(section, switch) in values
    if is_wanted and not is_given:
        raise RecipeError(name, f"is missing: `{switch}: {getattr(section, switch)}` needs it.")
    if is_given and not is_wanted:
        raise RecipeError(name, f"goes only with `{switch}: {' or '.join(values)}`; remove it or change `{switch}`.")


def _channels(value: Any) -> tuple[int, ...]:
    if isinstance(value, str) or not all(isinstance(size, int) and size >= 1 for size in value):
        raise RecipeError("concat_channels", f"is {value!r}; it must list the channels of each part.")
    return tuple(value)


def _without_none(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
        for key, value in record.items()
        if value is not None
    }
