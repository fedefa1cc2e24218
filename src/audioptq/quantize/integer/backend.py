"""What an integer backend is: it multiplies int8 activations by int8 weights, exactly.

A backend has `name`, `refusal`, `prepare` and `product`. The other methods do step by step what a kernel may do faster.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.granularity import PerToken
from audioptq.quantize.arithmetic.primitives import choose_scale, quantize
from audioptq.quantize.layers.product import Epilogue, finish
from audioptq.quantize.layers.stored_weight import requantize


class Backend(ABC):
    """One way to multiply integers; stateless, so that one instance serves all layers.

    Attributes:
        name: What reports and messages call it.
        stored_bits: Widths of stored weights that `prepare_stored` takes as they are: nothing is made of such a weight before
            its product, so that there is nothing to keep.
    """

    name: ClassVar[str]
    stored_bits: ClassVar[tuple[int, ...]] = ()

    @abstractmethod
    def refusal(self, device: torch.device) -> str | None:
        """Why it cannot work on `device` of this machine, as a clause; None if it can."""

    @abstractmethod
    def prepare(self, weight: Tensor, scale: Tensor, bits: int) -> Any:
        """The weight as its kernel wants it.

        Args:
            weight: int8 `[out, in]`, values in `[-qmax, qmax]` of `bits`.
            scale: float32 `[out]`.
            bits: Width of the values; a kernel may keep them packed.
        """

    @abstractmethod
    def product(self, x: Tensor, x_scale: Tensor, packed: Any) -> Tensor:
        """`x_scale * (x W^T) * scale`, float32 `[tokens, out]`, the sums over `in` being exact integers.

        Args:
            x: int8 `[tokens, in]`, in `[-127, 127]`.
            x_scale: float32 `[tokens, 1]`.
            packed: What `prepare` or `prepare_stored` returned.
        """

    def prepare_stored(self, qdata: Tensor, scale: Tensor, bits: int, smooth: Tensor | None) -> Any:
        """What `product` takes, for a whole weight that has float32 scales per output channel, or one.

        Args:
            qdata: As stored, `[out, bytes]`.
            scale: As stored, float32 `[out, 1]` or `[1, 1]`.
            bits: Width of what is stored.
            smooth: `[in]`, for the weight that `stored_weight.requantize` makes; None for the stored one itself.
        """
        raise NotImplementedError(f"{self.name} takes no stored weight as it is")

    def requantize(self, qdata: Tensor, scale: Tensor, bits: int, smooth: Tensor) -> tuple[Tensor, Tensor]:
        """See `stored_weight.requantize`: int8 `[out, in]`, and its scales, float32 `[out, 1]`."""
        return requantize(qdata, scale, bits, smooth)

    def quantize_tokens(
        self, x: Tensor, smooth: Tensor | None, bits: int, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`x / smooth` quantized.

        Args:
            x: Float `[tokens, in]`.
            smooth: `[in]`, or None.
            bits: Width of the integers.
            scale: Of all tokens, float32, one value, as calibration found it; None for one per token, from its range. That of a
                token that has a NaN is NaN.

        Returns:
            int8 `[tokens, in]`, and the scales, float32 `[tokens, 1]`.
        """
        return quantize_tokens(x, smooth, bits, scale)

    def fused_product(self, x: Tensor, x_scale: Tensor, packed: Any, epilogue: Epilogue) -> Tensor:
        """`product` with bias and branch, `[tokens, out]`, added in float32 and rounded once to the type of the result."""
        return finish(self.product(x, x_scale, packed), epilogue)


def quantize_tokens(x: Tensor, smooth: Tensor | None, bits: int, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """See `Backend.quantize_tokens`; the very steps of the simulated form, so that the integers are the same."""
    if smooth is not None:
        x = x / smooth.to(x.dtype)
    if scale is None:
        chosen = choose_scale(PerToken().absmax(x), bits)
    else:  # an integer cannot be NaN, so its scale has to be
        chosen = torch.where(x.amax(-1, keepdim=True).isnan(), torch.nan, scale.to(x.dtype))
    return quantize(x, chosen, bits), chosen.float()
