"""`int_mm`: `torch._int_mm`, int8 by int8 into int32, on processors with VNNI and on CUDA's tensor cores."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from audioptq.quantize.integer.backend import Backend

# What CUDA's kernel asks for: more than 16 tokens, channels in multiples of 8.
CUDA_TOKENS, CUDA_MULTIPLE = 17, 8


class IntMm(Backend):
    """`torch._int_mm`; zeros pad what CUDA's kernel does not take, and are cut off again."""

    name = "int_mm"

    def refusal(self, device: torch.device) -> str | None:
        """Without VNNI it is a nested loop in torch: right, and a hundred times too slow to be of use."""
        if device.type == "cuda":
            return None
        if device.type != "cpu":
            return "it runs on CPUs and CUDA alone"
        return (
            None if torch.cpu._is_vnni_supported() else "this processor has no VNNI, without which it is a plain loop"
        )

    def prepare(self, weight: Tensor, scale: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        """Pads both dimensions; the kernel takes the transpose as a view."""
        return _padded(weight.contiguous()), scale

    def product(self, x: Tensor, x_scale: Tensor, packed: tuple[Tensor, Tensor]) -> Tensor:
        """int32 sums, then both scales."""
        weight, scale = packed
        tokens = len(x)
        x = pad(x, (0, weight.shape[1] - x.shape[1], 0, max(CUDA_TOKENS - tokens, 0))).contiguous()
        y = torch._int_mm(x, weight.T)[:tokens, : len(scale)]
        return (y.float() * scale).mul_(x_scale)


def _padded(weight: Tensor) -> Tensor:
    """The weight itself, no copy, if there is nothing to pad."""
    outputs, channels = (-size % CUDA_MULTIPLE for size in weight.shape)
    return pad(weight, (0, channels, 0, outputs)) if outputs or channels else weight
