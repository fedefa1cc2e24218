"""The weight of a quantized layer: what is stored, and what meets the activations at each row of the smoothing table."""

from collections.abc import Mapping

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.granularity import PerAxes, WeightGranularity, weight_granularity
from audioptq.quantize.arithmetic.packing import unpack
from audioptq.quantize.arithmetic.primitives import choose_scale, dequantize, quantize
from audioptq.quantize.layers.kinds import Geometry
from audioptq.quantize.layers.weight_cache import CHANNELS_AT_ONCE, EVERY
from audioptq.quantize.recipe.specs import LayerRecipe, WeightSpec
from audioptq.quantize.rounding import round_weight

# What an integer product takes: the stored form requantizes to this at every timestep, whatever its storage.
COMPUTE_BITS = 8
PER_OUTPUT = PerAxes((0,))


class StoredWeight:
    """The compute weight `W_s` of each smoothing vector `s`, as a matrix `[out, in * taps]`.

    How `W_s` comes about depends on the recipe:

    * no smoothing, or a static vector: `W s` was quantized once and stored.
    * timestep or grouped, stored form: `Q(W)` is stored; at each row `dequantize(Q(W)) * s` is quantized again, to int8
      per output channel whatever the storage, so that an integer product can use it.
    * timestep or grouped, simulated form: `W` is stored in full precision; `W s` is quantized anew at each row.

    The effective weights of the last two forms differ by at most three half steps: of the stored integers, of their
    int8 requantization, and of the simulated integers.

    Args:
        tensors: The layer's, by the names of its file; looked up at each use, so that they may move.
        recipe: The layer's.
        geometry: The layer's.
    """

    def __init__(self, tensors: Mapping[str, Tensor | None], recipe: LayerRecipe, geometry: Geometry) -> None:
        self.tensors = tensors
        self.recipe = recipe
        self.geometry = geometry
        self.granularity = granularity_of(recipe.weight, geometry) if recipe.weight is not None else None

    @property
    def is_requantized(self) -> bool:
        """Whether what is stored is quantized again at each row."""
        return not (self.recipe.keeps_weight or self.recipe.is_folded)

    @property
    def compute_bits(self) -> int:
        """Width of the integers that meet the activations: those stored, or what each row requantizes them to."""
        return COMPUTE_BITS if self.is_requantized or self.recipe.weight is None else self.recipe.weight.bits

    @property
    def has_scale_per_output(self) -> bool:
        """Whether no scale of what meets the activations varies along the columns."""
        return self.is_requantized or isinstance(self.granularity, PerAxes)

    def smooth(self, row: int) -> Tensor | None:
        """The smoothing vector of a row, `[in]`; None without smoothing."""
        table = self.tensors["smooth_scale"]
        return None if table is None else table[row]

    def column_smooth(self, row: int) -> Tensor | None:
        """The same for each column, `[in * taps]`."""
        smooth = self.smooth(row)
        return None if smooth is None else self.geometry.columns(smooth)

    def integers(self, row: int, channels: slice = EVERY) -> tuple[Tensor, Tensor]:
        """The weight that meets `Q_a(x / s)` as int8 and the scale that broadcasts against it.

        Args:
            row: Of the smoothing table.
            channels: Output channels that are wanted; only where the stored weight is quantized.
        """
        qdata, scale, spec = self.tensors["qdata"], self.tensors["scale"], self.recipe.weight
        assert spec is not None, "only layers with quantized weights come here"
        assert self.granularity is not None, "as above"
        if qdata is None or scale is None:
            assert channels == EVERY, "a scale may span all output channels"
            made, own = round_weight(self._smoothed(row), spec, self.granularity, None)
            return made, self.granularity.spread(own, made.shape)
        if not self.is_requantized:
            return unpacked(qdata, scale, spec.bits, self.granularity, self.geometry.shape[1], channels)
        smooth = self.column_smooth(row)
        assert smooth is not None, "smoothing that is not folded has a vector"
        return requantize(qdata, scale, spec.bits, smooth, self.granularity, channels)

    def floats(self, row: int, channels: slice = EVERY) -> Tensor:
        """The weight that meets `x / s`, in float; see `integers`."""
        if self.recipe.weight is None:
            return self._smoothed(row)[channels]
        return dequantize(*self.integers(row, channels))

    def _smoothed(self, row: int) -> Tensor:
        weight, smooth = self.tensors["weight"], self.column_smooth(row)
        assert weight is not None, "checked when the layer was made"
        return weight if smooth is None else weight * smooth.to(weight.dtype)


def granularity_of(spec: WeightSpec, geometry: Geometry) -> WeightGranularity:
    """Which elements of a layer's matrix share a scale."""
    return weight_granularity(spec, taps=geometry.taps, parts=geometry.part_sizes)


def unpacked(
    qdata: Tensor, scale: Tensor, bits: int, granularity: WeightGranularity, columns: int, channels: slice = EVERY
) -> tuple[Tensor, Tensor]:
    """A stored weight, packed `[out, bytes]`, as int8 `[out, columns]` and the scale that broadcasts against it.

    Args:
        qdata: As stored.
        scale: As stored.
        bits: Width of the integers.
        granularity: Which elements share a scale.
        columns: Of the matrix.
        channels: Output channels that are wanted.
    """
    stored = unpack(qdata[channels], bits, columns)
    return stored, granularity.spread(scale if len(scale) == 1 else scale[channels], stored.shape)


def requantize(
    qdata: Tensor,
    scale: Tensor,
    bits: int,
    smooth: Tensor,
    granularity: WeightGranularity = PER_OUTPUT,
    channels: slice = EVERY,
) -> tuple[Tensor, Tensor]:
    """A stored weight times a smoothing vector `[columns]`, quantized again to int8 per output channel; see `unpacked`."""
    start, stop, _ = channels.indices(len(qdata))
    weight = torch.empty(stop - start, len(smooth), dtype=torch.int8, device=qdata.device)
    scales = []
    for first in range(start, stop, CHANNELS_AT_ONCE):
        last = min(first + CHANNELS_AT_ONCE, stop)
        stored = dequantize(*unpacked(qdata, scale, bits, granularity, len(smooth), slice(first, last)))
        smoothed = stored.mul_(smooth.to(stored.dtype))
        own = choose_scale(PER_OUTPUT.absmax(smoothed), COMPUTE_BITS)
        weight[first - start : last - start] = quantize(smoothed, own, COMPUTE_BITS)
        scales.append(own)
    return weight, torch.cat(scales)
