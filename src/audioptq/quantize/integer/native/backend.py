"""`native`: layers from their stored weights, in kernels of our own for processors with AVX2 or AVX-512 VNNI."""

from dataclasses import dataclass

import torch
from torch import Tensor

from audioptq.quantize.integer.backend import Epilogue, quantize_tokens
from audioptq.quantize.integer.native.library import NoLibrary, load
from audioptq.quantize.primitives import qmax


@dataclass(frozen=True)
class StoredWeight:
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


class Native:
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

    def prepare(self, weight: Tensor, scale: Tensor, bits: int) -> StoredWeight:
        """As it is."""
        return StoredWeight(weight.contiguous(), scale.contiguous(), None, is_packed=False, is_narrow=bits <= 4)

    def prepare_stored(self, qdata: Tensor, scale: Tensor, bits: int, smooth: Tensor | None) -> StoredWeight:
        """As it is, too."""
        factors = None if smooth is None else smooth.float().contiguous()
        is_packed = bits == 4
        return StoredWeight(qdata.contiguous(), scale.contiguous(), factors, is_packed, is_packed and smooth is None)

    def quantize_tokens(
        self, x: Tensor, smooth: Tensor | None, bits: int, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One pass over `x`; step by step if it is not float32."""
        if x.dtype != torch.float32:
            return quantize_tokens(x, smooth, bits, scale)
        x = x.contiguous()
        tokens, channels = x.shape
        integers = torch.empty(tokens, channels, dtype=torch.int8)
        scales = torch.empty(tokens, 1)
        divisors = None if smooth is None else smooth.float().contiguous()
        given = None if scale is None else scale.float().contiguous()
        load().audioptq_quantize(
            _at(x), _at(divisors), _at(given), tokens, channels, float(qmax(bits)), _at(integers), _at(scales)
        )
        return integers, scales

    def product(self, x: Tensor, x_scale: Tensor, packed: StoredWeight) -> Tensor:
        """The kernel with nothing to add."""
        return self.fused_product(x, x_scale, packed, Epilogue(None, None, None, torch.float32))

    def fused_product(self, x: Tensor, x_scale: Tensor, packed: StoredWeight, epilogue: Epilogue) -> Tensor:
        """The kernel adds the bias; the branch is added in place by one product of floats."""
        x, x_scale = x.contiguous(), x_scale.contiguous()
        tokens, channels = x.shape
        outputs = len(packed.qdata)
        bias = None if epilogue.bias is None else epilogue.bias.float().contiguous()
        y = torch.empty(tokens, outputs)
        load().audioptq_product(
            _at(x), _at(x_scale), _at(packed.qdata), _at(packed.scale), _at(packed.smooth), _at(bias), tokens, channels,
            outputs, packed.is_packed, packed.scale.numel() == 1, packed.is_narrow, _at(y),
        )  # fmt: skip
        if epilogue.inner is not None and epilogue.factor is not None:
            factor = epilogue.factor.to(epilogue.inner.dtype)
            y.addmm_(epilogue.inner.float(), factor.float().T)
        return y.to(epilogue.dtype)


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
