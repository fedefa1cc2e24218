"""Kernels in Triton: one pass that smooths and quantizes tokens, and an integer product that is a whole layer's output.

Triton compiles the annotations too, and refuses names that are not its own (its interpreter does not look at them): numbers and
pointers are `tl.tensor` here.
"""

import triton
import triton.language as tl


@triton.jit
def quantized(value: tl.tensor, qmax: tl.tensor) -> tl.tensor:
    """Integers of a block, and its scale `absmax / qmax`; halves round to even, as in `primitives`."""
    scale = tl.div_rn(tl.max(tl.abs(value), axis=0), qmax)
    scale = tl.where(scale == 0.0, 1.0, scale)
    # The largest of values of which one is NaN is another one.
    scale = tl.where(tl.max((value != value).to(tl.int32), axis=0) > 0, float("nan"), scale)
    # Adding and taking away 1.5 * 2^23 leaves a float32 rounded to an integer, halves to even.
    rounded = (tl.div_rn(value, scale) + 12582912.0) - 12582912.0
    return tl.minimum(tl.maximum(rounded, -qmax), qmax).to(tl.int8), scale


@triton.jit
def quantize_kernel(
    x: tl.tensor, smooth: tl.tensor, integers: tl.tensor, scales: tl.tensor, channels: tl.tensor, qmax: tl.tensor,
    is_smoothed: tl.constexpr, block: tl.constexpr,
) -> None:  # fmt: skip
    """One token of `x / smooth` (or of `x`) to int8 with a scale of its own."""
    token = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, block)
    there = channel < channels
    value = tl.load(x + token * channels + channel, mask=there, other=0.0).to(tl.float32)
    # Triton's own division is approximate, and would turn a step here and there.
    if is_smoothed:
        value = tl.div_rn(value, tl.load(smooth + channel, mask=there, other=1.0).to(tl.float32))
    rounded, scale = quantized(value, qmax)
    tl.store(integers + token * channels + channel, rounded, mask=there)
    tl.store(scales + token, scale)


@triton.jit
def requantize_kernel(
    weight: tl.tensor, stored_scale: tl.tensor, smooth: tl.tensor, integers: tl.tensor, scales: tl.tensor, channels: tl.tensor,
    qmax: tl.tensor, is_packed: tl.constexpr, is_per_output: tl.constexpr, block: tl.constexpr,
) -> None:  # fmt: skip
    """One output channel of a stored weight times `smooth`, to int8 with a scale of its own; 4 bits are two to a byte."""
    output = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, block)
    there = channel < channels
    if is_packed:
        byte = tl.arange(0, block // 2)
        pair = tl.load(weight + output * (channels // 2) + byte, mask=byte < channels // 2, other=0).to(tl.int8)
        stored = tl.interleave((pair << 4) >> 4, pair >> 4)
    else:
        stored = tl.load(weight + output * channels + channel, mask=there, other=0)
    scale = tl.load(stored_scale + (output if is_per_output else 0))
    value = stored.to(tl.float32) * scale * tl.load(smooth + channel, mask=there, other=0.0).to(tl.float32)
    rounded, own = quantized(value, qmax)
    tl.store(integers + output * channels + channel, rounded, mask=there)
    tl.store(scales + output, own)


@triton.jit
def product_kernel(
    x: tl.tensor, weight: tl.tensor, x_scale: tl.tensor, scale: tl.tensor,
    inner: tl.tensor, factor: tl.tensor, bias: tl.tensor, y: tl.tensor,
    tokens: tl.tensor, outputs: tl.tensor, channels: tl.tensor, rank: tl.tensor,
    is_packed: tl.constexpr, has_branch: tl.constexpr, has_bias: tl.constexpr, precision: tl.constexpr,
    block_m: tl.constexpr, block_n: tl.constexpr, block_k: tl.constexpr, block_r: tl.constexpr,
) -> None:  # fmt: skip
    """A tile `[block_m, block_n]` of `x_scale * (x W^T) * scale + inner factor^T + bias`, in the type of `y`.

    4-bit weights are unpacked here, two to a byte. The sums of the product are integers, those of the branch float32.
    """
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
    result = total.to(tl.float32) * by_output[None, :] * by_token[:, None]
    if has_branch:
        for start in range(0, rank, block_r):
            part = start + tl.arange(0, block_r)
            there = (row[:, None] < tokens) & (part[None, :] < rank)
            left = tl.load(inner + row[:, None] * rank + part[None, :], mask=there, other=0.0)
            held = (column[:, None] < outputs) & (part[None, :] < rank)
            right = tl.load(factor + column[:, None] * rank + part[None, :], mask=held, other=0.0).to(left.dtype)
            wide = tl.trans(right.to(tl.float32))
            result += tl.dot(left.to(tl.float32), wide, input_precision=precision, out_dtype=tl.float32)
    if has_bias:
        result += tl.load(bias + column, mask=column < outputs, other=0.0).to(tl.float32)[None, :]
    inside = (row[:, None] < tokens) & (column[None, :] < outputs)
    tl.store(y + row[:, None] * outputs + column[None, :], result.to(y.dtype.element_ty), mask=inside)
