"""A linear layer in a lower float type: what the plain half-precision baselines compute with."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional


@cache
def has_fast_products(dtype: torch.dtype) -> bool:
    """Whether this processor multiplies matrices of `dtype` natively."""
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return True


class CastLinear(nn.Linear):
    """A linear layer whose weights and product are of a lower float type than its input and output."""

    @classmethod
    def of(cls, linear: nn.Linear, dtype: torch.dtype) -> "CastLinear":
        """The same layer, weights rounded to `dtype`."""
        out_features, in_features = linear.weight.shape
        cast = cls(in_features, out_features, linear.bias is not None, linear.weight.device, dtype)
        cast.load_state_dict(linear.state_dict())
        return cast.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in]` -> `[..., out]`, both in the dtype of `x`."""
        return product(x.to(self.weight.dtype), self.weight, self.bias).to(x.dtype)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x W^T + bias` for operands of one dtype, in that dtype.

    A processor without bfloat16 units takes five to ten times as long for it as for float32. There the product of the
    bfloat16 operands is accumulated in float32 and rounded once, which is what the fast units do.
    """
    if x.device.type != "cpu" or has_fast_products(x.dtype):
        return functional.linear(x, weight, bias)
    wide = functional.linear(x.float(), weight.float(), None if bias is None else bias.float())
    return wide.to(x.dtype)
