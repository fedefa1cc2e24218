"""`triton`: int8 tensor cores of a GPU, with as few passes over memory as the steps allow."""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.packing import pack, unpack
from audioptq.quantize.arithmetic.primitives import qmax
from audioptq.quantize.integer.backend import Backend, quantize_tokens
from audioptq.quantize.layers.product import Epilogue

# Of the branch's rank no more at a time: float32 products without tensor cores run out of registers.
BLOCK_TOKENS, BLOCK_OUTPUTS, BLOCK_CHANNELS, BLOCK_RANK = 128, 128, 64, 16
# Runs kernels step by step in Python on the CPU: Triton's own way to check them without a GPU.
INTERPRETER = "TRITON_INTERPRET"


@dataclass(frozen=True)
class PackedWeight:
    """int8 `[out, in]`, or uint8 `[out, in / 2]` of two 4-bit values each; scales float32 `[out]`."""

    weight: Tensor
    scale: Tensor
    is_packed: bool


class TritonBackend(Backend):
    """Smoothing, range and quantization in one kernel; unpacking, the product and all that follows it in another.

    Weights of up to 4 bits stay packed, half a byte each, and are unpacked within the product.
    """

    name = "triton"

    def refusal(self, device: torch.device) -> str | None:
        """It needs a CUDA device, or Triton's interpreter, and the package, which comes with torch for CUDA."""
        if device.type != "cuda" and os.environ.get(INTERPRETER) != "1":
            return "it needs a CUDA device"
        return None if find_spec("triton") else "the package triton is not installed"

    def prepare(self, weight: Tensor, scale: Tensor, bits: int) -> PackedWeight:
        """Packs what fits 4 bits, if the channels are even."""
        is_packed = bits <= 4 and weight.shape[1] % 2 == 0
        return PackedWeight(pack(weight, 4) if is_packed else weight.contiguous(), scale.contiguous(), is_packed)

    def quantize_tokens(
        self, x: Tensor, smooth: Tensor | None, bits: int, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One kernel, one read of `x`; with a given scale step by step."""
        if scale is not None:
            return quantize_tokens(x, smooth, bits, scale)
        x = x.contiguous()
        tokens, channels = x.shape
        integers = torch.empty(tokens, channels, dtype=torch.int8, device=x.device)
        scales = torch.empty(tokens, 1, dtype=torch.float32, device=x.device)
        block = 1 << (channels - 1).bit_length()
        is_smoothed = smooth is not None
        divisors = x if smooth is None else smooth.contiguous()  # a kernel takes no None; it reads none then
        arguments = (x, divisors, integers, scales, channels, float(qmax(bits)), is_smoothed, block)
        _kernels().quantize_kernel[(tokens,)](*arguments)
        return integers, scales

    def requantize(self, qdata: Tensor, scale: Tensor, bits: int, smooth: Tensor) -> tuple[Tensor, Tensor]:
        """One kernel, one read of the stored weight; 3 and 2 bits are unpacked before."""
        outputs, channels = len(qdata), len(smooth)
        is_packed = bits == 4 and channels % 2 == 0
        stored = qdata.contiguous() if is_packed else unpack(qdata, bits, channels).contiguous()
        integers = torch.empty(outputs, channels, dtype=torch.int8, device=qdata.device)
        scales = torch.empty(outputs, 1, dtype=torch.float32, device=qdata.device)
        _kernels().requantize_kernel[(outputs,)](
            stored, scale.contiguous(), smooth.contiguous(), integers, scales, channels, float(qmax(8)),
            is_packed, len(scale) > 1, 1 << (channels - 1).bit_length(),
        )  # fmt: skip
        return integers, scales

    def product(self, x: Tensor, x_scale: Tensor, packed: PackedWeight) -> Tensor:
        """The kernel with nothing to add."""
        return self.fused_product(x, x_scale, packed, Epilogue(None, None, None, torch.float32))

    def fused_product(self, x: Tensor, x_scale: Tensor, packed: PackedWeight, epilogue: Epilogue) -> Tensor:
        """One kernel over tiles of the result."""
        tokens, channels = x.shape
        outputs = len(packed.scale)
        y = torch.empty(tokens, outputs, dtype=epilogue.dtype, device=x.device)
        # A kernel takes no None: where it adds nothing it is given what it does not read.
        inner, factor, bias = (
            y if tensor is None else tensor.contiguous() for tensor in (epilogue.inner, epilogue.factor, epilogue.bias)
        )
        rank = 0 if epilogue.inner is None else inner.shape[1]
        # Values of 16 bits fit TF32 whole, so that tensor cores lose nothing of them; of float32 they would lose 13 bits.
        precision = "ieee" if inner.dtype == torch.float32 else "tf32"
        tiles = (-(-tokens // BLOCK_TOKENS), -(-outputs // BLOCK_OUTPUTS))
        _kernels().product_kernel[tiles](
            x.contiguous(), packed.weight, x_scale.contiguous(), packed.scale, inner, factor, bias, y,
            tokens, outputs, channels, rank, packed.is_packed, rank > 0, epilogue.bias is not None, precision,
            BLOCK_TOKENS, BLOCK_OUTPUTS, BLOCK_CHANNELS, BLOCK_RANK, num_warps=8,
        )  # fmt: skip
        return y


def _kernels() -> Any:
    from audioptq.quantize.integer import triton_kernels  # imports triton, which not every machine has

    return triton_kernels
