"""Which elements of a tensor share one scale.

A granularity measures (`absmax`) and spreads (`spread`): `spread(absmax(x), x.shape)` broadcasts against `x`.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from audioptq.quantize.recipe.specs import ActivationSpec, WeightSpec


class Granularity(Protocol):
    """Measures ranges at some granularity and spreads what was chosen from them over the elements again."""

    def absmax(self, x: Tensor) -> Tensor:
        """Largest magnitude in every set of elements that share a scale."""

    def spread(self, scale: Tensor, shape: torch.Size) -> Tensor:
        """The scales in a shape that broadcasts against a tensor of shape `shape`."""


@dataclass(frozen=True)
class PerAxes:
    """One scale per index along the axes **kept**; per-tensor keeps none.

    Examples:
        * weight `[out, in]`, axes `()` (per tensor) -> scale `[1, 1]`
        * weight `[out, in]`, axes `(0,)` (per output channel) -> scale `[out, 1]`
        * activation `[batch, tokens, channels]`, axes `(0,)` (per tensor, each clip its own) -> `[batch, 1, 1]`
        * activation `[batch, tokens, channels]`, axes `(0, -1)` (per channel) -> `[batch, 1, channels]`
    """

    axes: tuple[int, ...]

    def absmax(self, x: Tensor) -> Tensor:
        """Largest magnitude over the axes that are not kept."""
        kept = {axis % x.ndim for axis in self.axes}
        reduced = [axis for axis in range(x.ndim) if axis not in kept]
        return _absmax(x, reduced) if reduced else x.abs()

    def spread(self, scale: Tensor, shape: torch.Size) -> Tensor:
        """The scale itself: it kept its axes."""
        return scale


@dataclass(frozen=True)
class PerToken:
    """One scale per token: the last axis shares it. Activation `[batch, tokens, channels]` -> `[batch, tokens, 1]`."""

    def absmax(self, x: Tensor) -> Tensor:
        """Largest magnitude of every token."""
        return _absmax(x, [-1])

    def spread(self, scale: Tensor, shape: torch.Size) -> Tensor:
        """The scale itself: it kept its axes."""
        return scale


@dataclass(frozen=True)
class PerGroup:
    """One scale per output channel and group of neighbouring input channels.

    Examples:
        * weight `[out, 256]`, group_size 64 -> scale `[out, 4]`
        * weight `[out, 100]`, group_size 64 -> scale `[out, 2]`, the second for 36 channels
    """

    group_size: int

    def absmax(self, x: Tensor) -> Tensor:
        """Largest magnitude of every output channel in every group."""
        missing = -x.shape[-1] % self.group_size
        padded = pad(x, (0, missing)) if missing else x
        return padded.unflatten(-1, (-1, self.group_size)).abs().amax(-1)

    def spread(self, scale: Tensor, shape: torch.Size) -> Tensor:
        """Every group's scale repeated over its channels."""
        return scale.unsqueeze(-1).expand(*scale.shape, self.group_size).flatten(-2)[..., : shape[-1]]


@dataclass(frozen=True)
class PerConcatGroup:
    """One scale per output channel and part of a concatenated input (Q-Diffusion's split shortcut).

    Example: a weight `[out, 48]` whose input is 32 channels beside 16 skipped ones -> sizes `(32, 16)`, scale `[out,
        2]`.
    """

    sizes: tuple[int, ...]

    def absmax(self, x: Tensor) -> Tensor:
        """Largest magnitude of every output channel in every part; `sizes` must add up to the input channels."""
        return torch.stack([part.abs().amax(-1) for part in x.split(self.sizes, -1)], -1)

    def spread(self, scale: Tensor, shape: torch.Size) -> Tensor:
        """Every part's scale repeated over its channels."""
        return scale.repeat_interleave(torch.tensor(self.sizes, device=scale.device), -1)


def _absmax(x: Tensor, axes: list[int]) -> Tensor:
    """`x.abs().amax(axes, keepdim=True)` without a copy of `x`."""
    return torch.maximum(x.amax(axes, keepdim=True), -x.amin(axes, keepdim=True))


def weight_granularity(spec: WeightSpec) -> Granularity:
    """The granularity that a recipe asks of weights `[out, in]`."""
    if spec.group_size is not None:
        return PerGroup(spec.group_size)
    if spec.concat_channels is not None:
        return PerConcatGroup(spec.concat_channels)
    return PerAxes(()) if spec.granularity == "per_tensor" else PerAxes((0,))


def act_granularity(spec: ActivationSpec) -> Granularity:
    """The granularity that a recipe asks of live activations `[batch, ..., channels]`.

    The batch axis is always kept, so that the clips of a batch never share a range and a clip's audio does not depend
    on its neighbours. An input without token axes, `[batch, channels]`, therefore has one token per clip.
    """
    if spec.granularity == "per_token":
        return PerToken()
    return PerAxes((0,)) if spec.granularity == "per_tensor" else PerAxes((0, -1))
