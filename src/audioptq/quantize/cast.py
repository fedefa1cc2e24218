"""A linear layer in a lower float type: what the plain half-precision baselines compute with."""

import torch
from torch import Tensor, nn


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
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)
