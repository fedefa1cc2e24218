"""`native`: layers from their stored weights, in kernels of our own for processors with AVX2 or AVX-512 VNNI."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.packing import packed_width
from audioptq.quantize.arithmetic.primitives import qmax
from audioptq.quantize.integer.backend import Backend, quantize_tokens
from audioptq.quantize.integer.native.library import NoLibrary, load
from audioptq.quantize.layers.product import Epilogue, finish


@dataclass(frozen=True)
class KernelWeight:
    """What a product reads: nothing is made of the weight before.

    Attributes:
        qdata: int8 `[out, in]`, or uint8 `[out, ceil(in / 2)]` of two 4-bit values each.
        scale: float32, of `out` values or one.
        smooth: float32 `[in]`, by which the weight is multiplied before it is quantized again, to 8 bits per output channel; or None.
        is_packed: Whether there are two values in a byte.
        is_narrow: Whether the integers that meet the activations have 4 bits or fewer.
    """

    qdata: Tensor
    scale: Tensor
    smooth: Tensor | None
    is_packed: bool
    is_narrow: bool


class Native(Backend):
    """Unpacks, smooths, requantizes and multiplies a few output channels at a time, which never leave the processor's cache.

    So smoothing per timestep takes no more memory than the stored weight and next to no more time than a static vector. Weights of 4
    bits are multiplied as bytes and added in 16 bits; wider ones as 16-bit integers, since on AVX2 nothing else is exact. With VNNI
    both are one instruction.
    """

    name = "native"
    stored_bits = (8, 4)

    def refusal(self, device: torch.device) -> str | None:
        """It needs an x86 processor with AVX2 and a C++ compiler; the first call on a machine compiles."""
        if device.type != "cpu":
            return "it runs on the CPU alone"
        try:
            load()
        except NoLibrary as error:
            return str(error)
        return None

    def prepare(self, weight: Tensor, scale: Tensor, bits: int) -> KernelWeight:
        """As it is."""
        return KernelWeight(weight.contiguous(), scale.contiguous(), None, is_packed=False, is_narrow=bits <= 4)

    def prepare_stored(self, qdata: Tensor, scale: Tensor, bits: int, smooth: Tensor | None) -> KernelWeight:
        """As it is, too."""
        factors = None if smooth is None else smooth.float().contiguous()
        is_packed = bits == 4
        return KernelWeight(qdata.contiguous(), scale.contiguous(), factors, is_packed, is_packed and smooth is None)

    def quantize_tokens(
        self, x: Tensor, smooth: Tensor | None, bits: int, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One pass over `x`; step by step if it is not float32."""
        if x.dtype != torch.float32:
            return quantize_tokens(x, smooth, bits, scale)
        x = x.contiguous()
        tokens, channels = x.shape
        integers = torch.empty(tokens, channels, dtype=torch.int8, device=x.device)
        scales = torch.empty(tokens, 1, dtype=torch.float32, device=x.device)
        divisors, given = (None if tensor is None else tensor.float().contiguous() for tensor in (smooth, scale))
        _check("smoothing", divisors, {channels})
        _check("scale", given, {1})
        _call(
            "audioptq_quantize", x, divisors, given, tokens, channels, float(qmax(bits)), torch.get_num_threads(),
            integers, scales,
        )  # fmt: skip
        return integers, scales

    def product(self, x: Tensor, x_scale: Tensor, packed: KernelWeight) -> Tensor:
        """The kernel with nothing to add."""
        return self.fused_product(x, x_scale, packed, Epilogue(None, None, None, torch.float32))

    def fused_product(self, x: Tensor, x_scale: Tensor, packed: KernelWeight, epilogue: Epilogue) -> Tensor:
        """The kernel adds the bias; the branch is added in place by one product of floats."""
        x, x_scale = x.to(torch.int8).contiguous(), x_scale.float().contiguous()
        tokens, channels = x.shape
        outputs = len(packed.qdata)
        bias = None if epilogue.bias is None else epilogue.bias.float().contiguous()
        _check("weight", packed.qdata, {outputs * packed_width(channels, 4 if packed.is_packed else 8)})
        _check("weight's scales", packed.scale, {1, outputs})
        _check("smoothing", packed.smooth, {channels})
        _check("bias", bias, {outputs})
        _check("activations' scales", x_scale, {tokens})
        y = torch.empty(tokens, outputs, dtype=torch.float32, device=x.device)
        _call(
            "audioptq_product", x, x_scale, packed.qdata, packed.scale, packed.smooth, bias, tokens, channels, outputs,
            packed.is_packed, packed.scale.numel() == 1, packed.is_narrow, torch.get_num_threads(), y,
        )  # fmt: skip
        return finish(y, replace(epilogue, bias=None))  # which the kernel has added


def _check(what: str, tensor: Tensor | None, sizes: set[int]) -> None:
    """A kernel reads as much as it is told that there is.

    Raises:
        RuntimeError: As torch's own products, if the tensor has another number of values.
    """
    if tensor is not None and tensor.numel() not in sizes:
        wanted = " or ".join(map(str, sorted(sizes)))
        raise RuntimeError(f"{what} of {tensor.numel()} values where the input's channels and the layer need {wanted}")


def _call(name: str, *arguments: Any) -> None:
    """Calls a kernel, tensors by their addresses; the caller holds them.

    Raises:
        RuntimeError: If there is not enough memory.
    """
    given = (argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments)
    if not getattr(load(), name)(*given):
        raise RuntimeError(f"{name}: not enough memory")
