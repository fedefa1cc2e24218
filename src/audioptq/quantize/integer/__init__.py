"""Integer compute: quantized layers whose matrix products really run on integers, by interchangeable backends."""

from audioptq.quantize.integer.convert import layers_to_fold, packed_anew, summary, use_integer
from audioptq.quantize.integer.folds import fold_smoothing, folds_summary
from audioptq.quantize.integer.linear import IntegerLinear

__all__ = [
    "IntegerLinear",
    "fold_smoothing",
    "folds_summary",
    "layers_to_fold",
    "packed_anew",
    "summary",
    "use_integer",
]
