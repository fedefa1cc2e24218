"""The clip of every scale that minimises the squared error of the weight.

At few bits the step that serves the largest weight is wide for all the others: a smaller step clips the largest and
rounds the rest more finely.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.granularity import WeightGranularity
from audioptq.quantize.arithmetic.primitives import choose_scale, quantize
from audioptq.quantize.recipe.specs import WeightSpec

NEEDS = ()

# Shares of the largest magnitude. With 2 bits the best clip of normally distributed weights is at 1.2 standard deviations, a
# fourth to a third of their largest magnitude; with more bits it is larger.
CLIPS = tuple(percent / 100 for percent in range(100, 19, -1))


def round_weight(
    matrix: Tensor, spec: WeightSpec, granularity: WeightGranularity, stats: Mapping[str, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """`scale = c absmax / qmax`, `qdata = clip(round(matrix / scale))`, with the best c of `CLIPS` (see `rounding.round_weight`).

    Each set of weights that share a scale has its own c, which minimises `|qdata * scale - matrix|^2` over the set; of
    equally good ones the largest, so that a set is never worse off than rounded to nearest.
    """
    absmax = granularity.absmax(matrix)
    exact = matrix.double()
    best_scale = best_error = torch.empty(0)
    for clip in CLIPS:
        scale = choose_scale(clip * absmax, spec.bits)
        spread = granularity.spread(scale, matrix.shape)
        qdata = quantize(matrix, spread, spec.bits)
        error = granularity.sum((qdata * spread.double()).sub_(exact).square_())
        if clip == CLIPS[0]:
            best_scale, best_error = scale, error
        is_better = error < best_error
        best_scale, best_error = torch.where(is_better, scale, best_scale), torch.where(is_better, error, best_error)
    return quantize(matrix, granularity.spread(best_scale, matrix.shape), spec.bits), best_scale
