"""Kernels in Triton: one pass that smooths and quantizes tokens, and an integer product that scales on its way out.

Triton reads its own functions' source, so that their parameters carry no types but those it knows.
"""

from typing import Any

import triton
import triton.language as tl


@triton.jit
def quantize_kernel(
    x: Any, smooth: Any, integers: Any, scales: Any, channels: Any, qmax: Any, is_smoothed: tl.constexpr,
    block: tl.constexpr,
) -> None:  # fmt: skip
    """One token of `x / smooth` (or of `x`) to int8 with the scale `absmax / qmax`; halves round to even, as in `primitives`."""
    token = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, block)
    there = channel < channels
    value = tl.load(x + token * channels + channel, mask=there, other=0.0).to(tl.float32)
    # Triton's own division is approximate, and would turn a step here and there.
    if is_smoothed:
        value = tl.div_rn(value, tl.load(smooth + channel, mask=there, other=1.0).to(tl.float32))
    scale = tl.div_rn(tl.max(tl.abs(value), axis=0), qmax)
    scale = tl.where(scale == 0.0, 1.0, scale)
    # Adding and taking away 1.5 * 2^23 leaves a float32 rounded to an integer, halves to even.
    rounded = (tl.div_rn(value, scale) + 12582912.0) - 12582912.0
    rounded = tl.minimum(tl.maximum(rounded, -qmax), qmax)
    tl.store(integers + token * channels + channel, rounded.to(tl.int8), mask=there)
    tl.store(scales + token, scale)


@triton.jit
def product_kernel(
    x: Any, weight: Any, x_scale: Any, scale: Any, y: Any, tokens: Any, outputs: Any, channels: Any,
    is_packed: tl.constexpr, block_m: tl.constexpr, block_n: tl.constexpr, block_k: tl.constexpr,
) -> None:  # fmt: skip
    """A tile `[block_m, block_n]` of `x_scale * (x W^T) * scale`; 4-bit weights are unpacked here, two to a byte."""
    row = (tl.program_id(0) * block_m + tl.arange(0, block_m)).to(tl.int64)
    column = (tl.program_id(1) * block_n + tl.arange(0, block_n)).to(tl.int64)
    total = tl.zeros((block_m, block_n), dtype=tl.int32)
    for first in range(0, channels, block_k):
        channel = first + tl.arange(0, block_k)
        there = (row[:, None] < tokens) & (channel[None, :] < channels)
        left = tl.load(x + row[:, None] * channels + channel[None, :], mask=there, other=0)
        if is_packed:
            byte = first // 2 + tl.arange(0, block_k // 2)
            held = (column[:, None] < outputs) & (byte[None, :] < channels // 2)
            pair = tl.load(weight + column[:, None] * (channels // 2) + byte[None, :], mask=held, other=0).to(tl.int8)
            right = tl.interleave((pair << 4) >> 4, pair >> 4)  # arithmetic shifts: the sign comes along
        else:
            held = (column[:, None] < outputs) & (channel[None, :] < channels)
            right = tl.load(weight + column[:, None] * channels + channel[None, :], mask=held, other=0)
        total += tl.dot(left, tl.trans(right), out_dtype=tl.int32)
    by_token = tl.load(x_scale + row, mask=row < tokens, other=0.0)
    by_output = tl.load(scale + column, mask=column < outputs, other=0.0)
    scaled = total.to(tl.float32) * by_output[None, :] * by_token[:, None]
    inside = (row[:, None] < tokens) & (column[None, :] < outputs)
    tl.store(y + row[:, None] * outputs + column[None, :], scaled, mask=inside)
