"""`onednn`: torch's own int8 products on x86 processors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from audioptq.quantize.integer.backend import Backend


@dataclass(frozen=True)
class PackedWeight:
    """A weight in oneDNN's blocked layout, with its scales and (zero) zero points `[out]`."""

    weight: Tensor
    scale: Tensor
    zero_point: Tensor


class OneDnn(Backend):
    """`onednn.qlinear_pointwise`, unsigned activations by signed weights.

    The kernel knows one scale per tensor of activations, so it is given 1, and the tokens' own scales are multiplied
    in afterwards. An int8 value becomes unsigned by a zero point of 128, which flips its top bit.

    Processors with VNNI or AMX add products in 32 bits. Others (AVX2, plain AVX-512) add them in pairs of 16 bits, where
    `255 |w1| + 255 |w2|` overflows unless `|w| <= 64`: exact for weights of 7 bits and fewer, wrong for 8. The trial
    (self_test.py) finds that out.
    """

    name = "onednn"

    def refusal(self, device: torch.device) -> str | None:
        """It needs a CPU and a torch built with oneDNN."""
        if device.type != "cpu":
            return "it runs on the CPU alone"
        return None if torch.backends.mkldnn.is_available() else "this build of torch has no oneDNN"

    def prepare(self, weight: Tensor, scale: Tensor, bits: int) -> PackedWeight:
        """One pass over the weight, into the kernel's layout."""
        packed = torch.ops.onednn.qlinear_prepack(weight, None)
        return PackedWeight(packed, scale.contiguous(), torch.zeros(len(scale), dtype=torch.int64))

    def product(self, x: Tensor, x_scale: Tensor, packed: PackedWeight) -> Tensor:
        """The kernel applies the weight's scales; the tokens' follow in place."""
        unsigned = x.contiguous().view(torch.uint8) ^ 128
        y = torch.ops.onednn.qlinear_pointwise(
            unsigned, 1.0, 128, packed.weight, packed.scale, packed.zero_point,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return y.mul_(x_scale)
