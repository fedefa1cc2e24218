"""Rounding to nearest: the largest weight of every set that shares a scale becomes the largest integer."""

from collections.abc import Mapping

from torch import Tensor

from audioptq.quantize.arithmetic.granularity import WeightGranularity
from audioptq.quantize.arithmetic.primitives import choose_scale, quantize
from audioptq.quantize.recipe.specs import WeightSpec

NEEDS = ()


def round_weight(
    matrix: Tensor, spec: WeightSpec, granularity: WeightGranularity, stats: Mapping[str, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """`scale = absmax / qmax`, `qdata = round(matrix / scale)`: nothing is clipped (see `rounding.round_weight`)."""
    scale = choose_scale(granularity.absmax(matrix), spec.bits)
    return quantize(matrix, granularity.spread(scale, matrix.shape), spec.bits), scale
