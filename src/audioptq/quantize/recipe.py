"""A quantization recipe: one entry of `recipes` in the config, one row of the table, one immutable value."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from audioptq.artifacts import digest
from audioptq.quantize.options import RecipeError, check_fields, check_keys, one_of, read_section
from audioptq.quantize.specs import (
    SECTIONS,
    ActivationSpec,
    LayerRecipe,
    LowRankSpec,
    SmoothingSpec,
    WeightSpec,
    read_sections,
    without_none,
)

FLOAT_BITS = {"float32": 32, "bfloat16": 16}


@dataclass(frozen=True)
class LayerOverride:
    """Other weights or activations for the layers whose names match `glob`; None leaves that operand in float."""

    glob: str
    weight: WeightSpec | None
    activation: ActivationSpec | None


@dataclass(frozen=True)
class LayerSpec:
    """Which layers take part, as globs over their names (`*` also crosses dots).

    Where several overrides fit a layer, the most specific one wins: the longest glob. Order in the config never
    matters.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    overrides: tuple[LayerOverride, ...] = ()

    def __post_init__(self) -> None:
        by_length = sorted(self.overrides, key=lambda override: (len(override.glob), override.glob))
        object.__setattr__(self, "overrides", tuple(by_length))


@dataclass(frozen=True)
class QuantRecipe:
    """A named recipe; `None` in a section means that nothing of that kind is done.

    Attributes:
        name: Label only; parameters are never parsed out of it.
        weight: How weights are quantized.
        activation: How inputs of linear layers are quantized.
        smoothing: How ranges move from activations to weights.
        low_rank: The 16-bit branch beside the quantized weights.
        layers: Which layers take part.
        dtype: Arithmetic of what is not quantized in the chosen layers.
        rest_dtype: How float32 tensors that are not quantized are stored; by default float16 beside quantized weights,
            else `dtype`.
        text_dtype: Arithmetic of the text encoder; by default the model's own (float16 for T5, also in full precision). It is
            in the configuration and the digest only where it is set.
    """

    name: str
    weight: WeightSpec | None = None
    activation: ActivationSpec | None = None
    smoothing: SmoothingSpec | None = None
    low_rank: LowRankSpec | None = None
    layers: LayerSpec = LayerSpec()
    dtype: str = one_of("float32", "bfloat16", default="float32")
    rest_dtype: str | None = one_of("float32", "float16", "bfloat16", default=None)
    text_dtype: str | None = one_of("float16", "float32", default=None)

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
        sections = read_sections(entry, key)
        dtypes = {kind: entry[kind] for kind in ("dtype", "rest_dtype", "text_dtype") if kind in entry}
        layers = _read_layers(entry.get("layers") or {}, entry, f"{key}.layers")
        try:
            return cls(name, **sections, layers=layers, **dtypes)
        except RecipeError as error:
            raise error.under(key) from None

    def to_config(self) -> dict[str, Any]:
        """The entry that `from_config` reads back to this recipe, defaults spelt out."""
        entry = without_none(dataclasses.asdict(self))
        del entry["name"]
        entry["layers"]["overrides"] = {
            override.glob: {
                "weight": override.weight and without_none(dataclasses.asdict(override.weight)),
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


def _read_layers(entry: Any, recipe: Mapping[str, Any], key: str) -> LayerSpec:
    check_keys(entry, ("include", "exclude", "overrides"), key)
    globs = {}
    for name in ("include", "exclude"):
        if name in entry:
            patterns = entry[name]
            if not isinstance(patterns, list | tuple) or not all(isinstance(pattern, str) for pattern in patterns):
                raise RecipeError(f"{key}.{name}", f"is {patterns!r}; it must be a list of globs over layer names.")
            globs[name] = tuple(patterns)
    overrides = entry.get("overrides") or {}
    return LayerSpec(**globs, overrides=tuple(_read_override(glob, overrides[glob], recipe, key) for glob in overrides))


def _read_override(glob: str, entry: Any, recipe: Mapping[str, Any], key: str) -> LayerOverride:
    """Keys of an override are laid over the recipe's own; null switches the operand off."""
    path = f"{key}.overrides.{glob}"
    check_keys(entry, ("weight", "activation"), path)
    specs: dict[str, Any] = {}
    for name in ("weight", "activation"):
        changes = entry.get(name, {})
        base = recipe.get(name)
        is_off = changes is None or (base is None and name not in entry)
        merged = _merged(base or {}, changes) if isinstance(changes, Mapping) else changes
        specs[name] = None if is_off else read_section(SECTIONS[name], merged, f"{path}.{name}")
    return LayerOverride(glob, **specs)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    # The sizes of groups belong to the granularity they were given with.
    stale = ("group_size", "concat_channels") if "granularity" in changes else ()
    return {name: value for name, value in base.items() if name not in stale} | dict(changes)
