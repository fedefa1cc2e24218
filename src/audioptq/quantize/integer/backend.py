"""What an integer backend is: it packs int8 weights once and multiplies int8 activations by them, exactly."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.granularity import PerToken
from audioptq.quantize.arithmetic.primitives import choose_scale, quantize


class Backend(Protocol):
    """One way to multiply integers; stateless, so that one instance serves all layers.

    Attributes:
        name: What reports and messages call it.
        divides_on_the_way: Whether `quantize_tokens` divides by the smoothing vector while it quantizes, for little. Else static
            vectors are folded away, which changes the rounding.
    """

    name: str
    divides_on_the_way: bool

    def __hash__(self) -> int:
        """By identity: trials are kept by backend."""
        ...

    def refusal(self, device: torch.device) -> str | None:
        """Why it cannot work on `device` of this machine, as a clause; None if it can."""
        ...

    def prepare(self, weight: Tensor, scale: Tensor, bits: int) -> Any:
        """The weight as its kernel wants it.

        Args:
            weight: int8 `[out, in]`, values in `[-qmax, qmax]` of `bits`.
            scale: float32 `[out]`.
            bits: Width of the values; a kernel may keep them packed.
        """
        ...

    def quantize_tokens(
        self, x: Tensor, smooth: Tensor | None, bits: int, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`x / smooth` quantized, which `quantize_tokens` of this module does step by step.

        Args:
            x: Float `[tokens, in]`.
            smooth: `[in]`, or None.
            bits: Width of the integers.
            scale: Of all tokens, float32, one value, as calibration found it; None for one per token, from its range. That of a
                token that has a NaN is NaN.

        Returns:
            int8 `[tokens, in]`, and the scales, float32 `[tokens, 1]`.
        """
        ...

    def product(self, x: Tensor, x_scale: Tensor, packed: Any) -> Tensor:
        """`x_scale * (x W^T) * scale`, float32 `[tokens, out]`, the sums over `in` being exact integers.

        Args:
            x: int8 `[tokens, in]`, in `[-127, 127]`.
            x_scale: float32 `[tokens, 1]`.
            packed: What `prepare` returned.
        """
        ...


@dataclass(frozen=True)
class Epilogue:
    """What a layer does to a product: adds its low-rank branch and its bias, and rounds to the type of its input.

    Attributes:
        inner: `x A` of the branch, float `[tokens, rank]`, made of the raw input; None without a branch.
        factor: The branch's `B`, `[out, rank]`, rounded to the type of `inner` before it is used; None without a branch.
        bias: `[out]`, or None.
        dtype: Of the result.
    """

    inner: Tensor | None
    factor: Tensor | None
    bias: Tensor | None
    dtype: torch.dtype


@runtime_checkable
class FusingBackend(Backend, Protocol):
    """A backend whose kernel does the epilogue too, so that the result is written once and never read again."""

    def fused_product(self, x: Tensor, x_scale: Tensor, packed: Any, epilogue: Epilogue) -> Tensor:
        """`x_scale * (x W^T) * scale + inner factor^T + bias`, `[tokens, out]`, added in float32 and rounded once.

        Args:
            x: See `product`.
            x_scale: See `product`.
            packed: What `prepare` returned.
            epilogue: What is added, and the type of the result.
        """
        ...


@runtime_checkable
class RequantizingBackend(Backend, Protocol):
    """A backend with a kernel for the weight that smoothing per timestep makes anew at each step."""

    def requantize(self, qdata: Tensor, scale: Tensor, bits: int, smooth: Tensor) -> tuple[Tensor, Tensor]:
        """`weights.requantize` of a whole weight that has float32 scales per output channel, or one.

        Args:
            qdata: As stored, `[out, bytes]`.
            scale: As stored, float32 `[out, 1]` or `[1, 1]`.
            bits: Width of what is stored.
            smooth: `[in]`.

        Returns:
            int8 `[out, in]`, and its scales, float32 `[out, 1]`.
        """
        ...


@runtime_checkable
class StoredBackend(Backend, Protocol):
    """A backend whose product starts from the stored weight, of which nothing has to be made before.

    Attributes:
        stored_bits: Widths of stored weights that it reads.
    """

    stored_bits: tuple[int, ...]

    def prepare_stored(self, qdata: Tensor, scale: Tensor, bits: int, smooth: Tensor | None) -> Any:
        """What `product` takes, for a whole weight that has float32 scales per output channel, or one.

        Args:
            qdata: As stored, `[out, bytes]`.
            scale: As stored, float32 `[out, 1]` or `[1, 1]`.
            bits: Width of what is stored, one of `stored_bits`.
            smooth: `[in]`, for the weight that `weights.requantize` makes; None for the stored one itself.
        """
        ...


def quantize_tokens(x: Tensor, smooth: Tensor | None, bits: int, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """See `Backend.quantize_tokens`; the very steps of the simulated form, so that the integers are the same."""
    if smooth is not None:
        x = x / smooth.to(x.dtype)
    if scale is None:
        chosen = choose_scale(PerToken().absmax(x), bits)
    else:  # an integer cannot be NaN, so its scale has to be
        chosen = torch.where(x.amax(-1, keepdim=True).isnan(), torch.nan, scale.to(x.dtype))
    return quantize(x, chosen, bits), chosen.float()
