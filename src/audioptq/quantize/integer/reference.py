"""`reference`: the exact product on any device, slow."""

import torch
from torch import Tensor

from audioptq.quantize.integer.backend import Backend


class Reference(Backend):
    """Multiplies in float64, whose 53 bits hold every sum of fewer than 2^39 products of two int8 values."""

    name = "reference"

    def refusal(self, device: torch.device) -> str | None:
        """Works everywhere."""
        return None

    def prepare(self, weight: Tensor, scale: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        """Keeps both as they are."""
        return weight, scale

    def product(self, x: Tensor, x_scale: Tensor, packed: tuple[Tensor, Tensor]) -> Tensor:
        """The exact sum, rounded to float32 once, then scaled."""
        weight, scale = packed
        return (exact_product(x, weight).float() * scale).mul_(x_scale)


def exact_product(x: Tensor, weight: Tensor) -> Tensor:
    """`x W^T` of int8 `[tokens, in]` and `[out, in]`, exact in float64 `[tokens, out]`."""
    return x.double() @ weight.double().T
