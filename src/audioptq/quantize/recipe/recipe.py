"""A quantization recipe: one entry of `recipes` in the config, one row of the table, one immutable value."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audioptq.files.artifacts import digest
from audioptq.quantize.recipe.options import RecipeError, check_fields, check_keys, one_of
from audioptq.quantize.recipe.overrides import LayerOverride, LayerSpec, read_layers
from audioptq.quantize.recipe.specs import (
    AUTO,
    ActivationSpec,
    LayerRecipe,
    LowRankSpec,
    SmoothingSpec,
    WeightSpec,
    read_sections,
    record_of,
)
from audioptq.quantize.rounding import roundings

FLOAT_BITS = {"float32": 32, "bfloat16": 16}


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
    layers: LayerSpec = dataclasses.field(default_factory=LayerSpec)
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
        for sections in self._everywhere:
            _check_timestep_groups(sections.smoothing, sections.activation)
            _check_rounding(sections.smoothing, sections.weight)

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
        layers = read_layers(entry.get("layers") or {}, entry, f"{key}.layers")
        try:
            return cls(name, **sections, layers=layers, **dtypes)
        except RecipeError as error:
            raise error.under(key) from None

    def to_config(self) -> dict[str, Any]:
        """The entry that `from_config` reads back to this recipe, defaults spelt out."""
        entry = record_of(self)
        del entry["name"]
        entry["layers"] = self.layers.to_config(self.smoothing)
        return entry

    def for_layer(self, name: str) -> LayerRecipe:
        """What the layer `name` gets, overrides applied."""
        sections = self.layers.override_of(name) or self
        low_rank = self.low_rank if sections.weight is not None else None
        return LayerRecipe(sections.weight, sections.activation, sections.smoothing, low_rank, self.dtype)

    def resolved(self, layers: Mapping[str, LayerRecipe]) -> "QuantRecipe":
        """The recipe that says of each of these layers what it became, where calibration decided that.

        Automatic timestep groups leave some layers with one static vector: these get overrides of their own.
        """
        unlike = {name: layer for name, layer in layers.items() if layer != self.for_layer(name)}
        return dataclasses.replace(self, layers=self.layers.with_layers(unlike)) if unlike else self

    @property
    def weight_bits(self) -> int:
        """Bits of a weight in the chosen layers (overrides aside)."""
        return self.weight.bits if self.weight is not None else FLOAT_BITS[self.dtype]

    @property
    def act_bits(self) -> int:
        """Bits of an activation that enters the matrix products (overrides aside)."""
        return self.activation.bits if self.activation is not None else FLOAT_BITS[self.dtype]

    @property
    def compute(self) -> str:
        """How the products of quantized layers run: `float`, or `simulated` where quantized activations are floats.

        A backend that multiplies integers reports `integer` here.
        """
        return "simulated" if any(sections.activation is not None for sections in self._everywhere) else "float"

    def needs(self) -> frozenset[str]:
        """Names of the statistics that some layer wants: `range` for smoothing and static ranges, and those of its rounding."""
        wanted: set[str] = set()
        for sections in self._everywhere:
            is_static = sections.activation is not None and sections.activation.range == "static"
            wanted |= {"range"} if sections.smoothing is not None or is_static else set()
            wanted |= set(roundings()[sections.weight.rounding]) if sections.weight is not None else set()
        return frozenset(wanted)

    @property
    def needs_calibration(self) -> bool:
        """Whether activation statistics are needed at all."""
        return bool(self.needs())

    @property
    def digest(self) -> str:
        """SHA-256 of the parameters; recipes that differ only in name share it."""
        return digest(self.to_config())

    @property
    def _everywhere(self) -> "list[QuantRecipe | LayerOverride]":
        """What gives a layer its sections: the recipe, or one of its overrides."""
        return [self, *self.layers.overrides]


def _check_timestep_groups(smoothing: SmoothingSpec | None, activation: ActivationSpec | None) -> None:
    is_auto = smoothing is not None and smoothing.groups == AUTO
    if is_auto and activation is not None and activation.range == "static":
        raise RecipeError(
            "smoothing.groups",
            "is auto beside a static activation range: timesteps are grouped by what a dynamic range cannot follow, and a "
            "static one follows nothing. Use `range: dynamic`, or give the number of groups.",
        )


def _check_rounding(smoothing: SmoothingSpec | None, weight: WeightSpec | None) -> None:
    is_simulated = smoothing is not None and smoothing.form == "simulated"
    if is_simulated and weight is not None and weight.rounding != "nearest":
        raise RecipeError(
            "weight.rounding",
            f"is {weight.rounding} beside `smoothing.form: simulated`, which rounds the weight anew at every timestep, to "
            "nearest. Use `rounding: nearest`, or `form: stored`.",
        )
