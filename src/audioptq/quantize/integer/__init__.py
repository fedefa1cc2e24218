"""Integer compute: quantized layers whose matrix products really run on integers, by interchangeable backends."""

from audioptq.quantize.integer.convert import summary, use_integer
from audioptq.quantize.integer.linear import IntegerLinear

__all__ = [
    "IntegerLinear",
    "summary",
    "use_integer",
]
