"""The clip of every scale that minimises the squared error of the weight.

At few bits the step that serves the largest weight is wide for all the others: a smaller step clips the largest and
rounds the rest more finely.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.granularity import WeightGranularity
from audioptq.quantize.arithmetic.primitives import choose_scale, quantize, quantize_in_float
from audioptq.quantize.recipe.specs import WeightSpec

NEEDS = ()

# Shares of the largest magnitude. With 2 bits the best clip of normally distributed weights is at 1.2 standard deviations, a
# fourth to a third of their largest magnitude; with more bits it is larger.
CLIPS = tuple(percent / 100 for percent in range(100, 19, -1))


# Weights that are tried at once, of whole output channels: what is made on the way stays within the cache.
WEIGHTS_AT_ONCE = 2**17


def round_weight(
    matrix: Tensor, spec: WeightSpec, granularity: WeightGranularity, stats: Mapping[str, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """`scale = c absmax / qmax`, `qdata = clip(round(matrix / scale))`, with the best c of `CLIPS` (see `rounding.round_weight`).

    Each set of weights that share a scale has its own c, which minimises `|qdata * scale - matrix|^2` over the set; of
    equally good ones the largest, so that a set is never worse off than rounded to nearest.
    """
    if spec.granularity == "per_tensor":
        scale = _best_scale(matrix, spec, granularity)
    else:
        channels = max(1, WEIGHTS_AT_ONCE // matrix.shape[1])
        scale = torch.cat([_best_scale(part, spec, granularity) for part in matrix.split(channels)])
    return quantize(matrix, granularity.spread(scale, matrix.shape), spec.bits), scale


def _best_scale(matrix: Tensor, spec: WeightSpec, granularity: WeightGranularity) -> Tensor:
    absmax, exact = granularity.absmax(matrix), matrix.double()
    best_error = torch.full_like(absmax, torch.inf, dtype=torch.float64)
    best_scale = torch.ones_like(absmax)
    for clip in CLIPS:
        scale = choose_scale(clip * absmax, spec.bits)
        spread = granularity.spread(scale, matrix.shape)
        qdata = quantize_in_float(matrix, spread, spec.bits)
        error = granularity.sum((qdata.double() * spread).sub_(exact).square_())
        best_scale = torch.where(error < best_error, scale, best_scale)
        best_error = torch.minimum(error, best_error)
    return best_scale
