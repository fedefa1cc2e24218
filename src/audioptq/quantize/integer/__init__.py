"""Integer compute: quantized layers whose matrix products really run on integers, by interchangeable backends."""

from audioptq.quantize.integer.bind import backend_of, on_integers
from audioptq.quantize.integer.convert import summary, use_integer

__all__ = ["backend_of", "on_integers", "summary", "use_integer"]
