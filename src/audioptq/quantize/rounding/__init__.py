"""How a weight becomes integers and their scales: one file of this folder per rule.

Such a file has a literal `NEEDS`, the names of the statistics that it works on (`calibrate.statistics`), and a function
`round_weight` like the one below. Its name is a legal value of `weight.rounding`. The files are found without importing them.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from audioptq.files.literals import files_with

if TYPE_CHECKING:
    from torch import Tensor

    from audioptq.quantize.arithmetic.granularity import WeightGranularity
    from audioptq.quantize.recipe.specs import WeightSpec


@cache
def roundings(folder: Path = Path(__file__).parent) -> dict[str, tuple[str, ...]]:
    """Statistics that each rounding needs, by the rounding's name."""
    return {name: tuple(needs) for name, needs in files_with(folder, "NEEDS").items()}


def round_weight(
    matrix: "Tensor", spec: "WeightSpec", granularity: "WeightGranularity", stats: "Mapping[str, Tensor] | None"
) -> "tuple[Tensor, Tensor]":
    """Quantizes a weight as `spec.rounding` says.

    Args:
        matrix: The weight `[out, in * taps]`, a float, smoothed where smoothing is folded into it.
        spec: What a recipe asks of weights.
        granularity: Which elements of the matrix share a scale (`arithmetic.granularity.weight_granularity`).
        stats: Statistics of the layer's raw input, by the names of their tensors; and where `matrix` is smoothed, the vector
            `smooth_scale`, `[in]`, by which the input is divided. None if nothing was calibrated.

    Returns:
        int8 `[out, in * taps]` within `[-qmax, qmax]`, and the scales as they are stored: `matrix ≈ qdata *
        granularity.spread(scale, matrix.shape)`.
    """
    rounded: tuple[Tensor, Tensor] = import_module(f"{__name__}.{spec.rounding}").round_weight(
        matrix, spec, granularity, stats
    )
    return rounded
