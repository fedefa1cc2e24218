"""`native`: quantized layers in C++ for x86 processors, compiled at first use."""

from audioptq.quantize.integer.native.backend import Native

__all__ = ["Native"]
