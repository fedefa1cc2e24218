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
    return dtype == torch.float32


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
        """`[..., in]` -> `[..., out]`, both in the dtype of `x`.

        A processor without bfloat16 products would take five times as long as in float32. There the operands and the result
        are rounded to bfloat16 and the product is accumulated in float32, which is what the fast units do.
        """
        dtype = self.weight.dtype
        if x.device.type != "cpu" or has_fast_products(dtype):
            return super().forward(x.to(dtype)).to(x.dtype)
        bias = None if self.bias is None else self.bias.float()
        product = functional.linear(x.to(dtype).float(), self.weight.float(), bias)
        return product.to(dtype).to(x.dtype)
