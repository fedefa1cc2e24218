"""The arithmetic of quantization: symmetric, nearest, over the integers `[-qmax, qmax]`.

`x ≈ qdata * scale` with `qmax = 2^(bits-1) - 1`: -128 is never used, so that negation is exact and a product of two
int8 values fits 14 bits. `scale` always broadcasts against `x` (see granularity.py).
"""

import torch
from torch import Tensor


def qmax(bits: int) -> int:
    """Largest integer of a width.

    >>> qmax(8), qmax(4), qmax(2)
    (127, 7, 1)
    """
    return int(2 ** (bits - 1) - 1)


def choose_scale(absmax: Tensor, bits: int) -> Tensor:
    """The scale that maps `absmax` to the largest integer: `absmax / qmax`.

    A set of zeros (or of values so small that the quotient underflows) gets scale 1: its integers are 0 either way, and
    nothing is divided by zero.
    """
    scale = absmax / qmax(bits)
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def quantize(x: Tensor, scale: Tensor, bits: int) -> Tensor:
    """int8 integers `clip(round(x / scale), -qmax, qmax)`; halves round to even."""
    return quantize_in_float(x, scale, bits).to(torch.int8)


def dequantize(qdata: Tensor, scale: Tensor) -> Tensor:
    """`qdata * scale`, in the dtype of the scale."""
    return qdata.to(scale.dtype).mul_(scale)


def quantize_in_float(x: Tensor, scale: Tensor, bits: int, *, in_place: bool = False) -> Tensor:
    """The integers of `quantize` in the dtype of `x`; NaN stays NaN. With `in_place` in the memory of `x`."""
    return _clip(x.div_(scale) if in_place else x / scale, bits)


def fake_quantize(x: Tensor, scale: Tensor, bits: int, *, in_place: bool = False) -> Tensor:
    """`dequantize(quantize(x))` without leaving float; NaN stays NaN. With `in_place` in the memory of `x`."""
    return quantize_in_float(x, scale, bits, in_place=in_place).mul_(scale)


def _clip(steps: Tensor, bits: int) -> Tensor:
    return steps.round_().clamp_(-qmax(bits), qmax(bits))
