"""A layer in a lower float type: what the plain half-precision baselines compute with."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from audioptq.quantize.layers.kinds import Geometry
from audioptq.quantize.recipe.specs import LayerRecipe


@cache
def has_fast_products(dtype: torch.dtype) -> bool:
    """Whether this processor multiplies matrices of `dtype` natively."""
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return True


class CastLayer(nn.Module):
    """A layer whose weights and product are of a lower float type than its input and output.

    Attributes:
        geometry: Kind and sizes.
        weight: As torch's layer of this kind has it.
        bias: `[out]`, or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @classmethod
    def of(cls, module: nn.Module, geometry: Geometry, dtype: torch.dtype) -> "CastLayer":
        """The same layer, weights rounded to `dtype`."""
        own: Any = module
        bias = None if own.bias is None else own.bias.detach().to(dtype)
        return cls(own.weight.detach().to(dtype), bias, geometry)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer of full precision takes and gives, in the dtype of `x`."""
        dtype, x = x.dtype, x.to(self.weight.dtype)
        if _is_slow(x):
            wide = self._layer(x.float(), self.weight.float(), None if self.bias is None else self.bias.float())
            return wide.to(x.dtype).to(dtype)
        return self._layer(x, self.weight, self.bias).to(dtype)

    def _layer(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        geometry = self.geometry
        if geometry.kind == "linear":
            return functional.linear(x, weight, bias)
        before = [zeros for zeros, _ in geometry.padding]
        after = [zeros for _, zeros in geometry.padding]
        if before != after:  # `same` with an even span
            x = functional.pad(x, [zeros for pair in reversed(geometry.padding) for zeros in pair])
            before = [0] * len(before)
        given: dict[str, Any] = {"stride": geometry.stride, "padding": before, "dilation": geometry.dilation}
        given |= {"output_padding": geometry.output_padding} if geometry.is_transposed else {}
        y: Tensor = getattr(functional, geometry.kind)(x, weight, bias, **given)
        return y


def product(x: Tensor, weight: Tensor) -> Tensor:
    """`x W^T` for operands of one dtype, in that dtype.

    A processor without bfloat16 units takes five to ten times as long for it as for float32. There the product of the
    bfloat16 operands is accumulated in float32 and rounded once, which is what the fast units do.
    """
    if not _is_slow(x):
        return functional.linear(x, weight)
    return functional.linear(x.float(), weight.float()).to(x.dtype)


def float_dtype(recipe: LayerRecipe, dtype: torch.dtype) -> torch.dtype:
    """In which a layer with inputs of `dtype` computes what it does not quantize."""
    return torch.bfloat16 if recipe.dtype == "bfloat16" else dtype


def _is_slow(x: Tensor) -> bool:
    return x.device.type == "cpu" and not has_fast_products(x.dtype)
