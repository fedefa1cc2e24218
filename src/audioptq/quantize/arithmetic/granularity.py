"""Which elements of a tensor share one scale.

A granularity measures (`absmax`) and spreads (`spread`): `spread(absmax(x), x.shape)` broadcasts against `x`.
"""

from collections.abc import Sequence
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


class WeightGranularity(Granularity, Protocol):
    """A granularity of weights, which are rounded by what they lose (quantize/rounding)."""

    def sum(self, x: Tensor) -> Tensor:
        """Sum of every set of elements that share a scale, in the shape of `absmax`."""


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
        reduced = self._reduced(x)
        return _absmax(x, reduced) if reduced else x.abs()

    def sum(self, x: Tensor) -> Tensor:
        """Sum over the axes that are not kept."""
        reduced = self._reduced(x)
        return x.sum(reduced, keepdim=True) if reduced else x

    def spread(self, scale: Tensor, shape: torch.Size) -> Tensor:
        """The scale itself: it kept its axes."""
        return scale

    def _reduced(self, x: Tensor) -> list[int]:
        kept = {axis % x.ndim for axis in self.axes}
        return [axis for axis in range(x.ndim) if axis not in kept]


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
    """One scale per output channel and group of neighbouring columns.

    Examples:
        * weight `[out, 256]`, 64 columns -> scale `[out, 4]`
        * weight `[out, 100]`, 64 columns -> scale `[out, 2]`, the second for 36 columns
    """

    columns: int

    def absmax(self, x: Tensor) -> Tensor:
        """Largest magnitude of every row in every group."""
        return self._grouped(x).abs().amax(-1)

    def sum(self, x: Tensor) -> Tensor:
        """Sum of every row in every group."""
        return self._grouped(x).sum(-1)

    def spread(self, scale: Tensor, shape: torch.Size) -> Tensor:
        """Every group's scale repeated over its columns."""
        return scale.unsqueeze(-1).expand(*scale.shape, self.columns).flatten(-2)[..., : shape[-1]]

    def _grouped(self, x: Tensor) -> Tensor:
        missing = -x.shape[-1] % self.columns
        padded = pad(x, (0, missing)) if missing else x
        return padded.unflatten(-1, (-1, self.columns))


@dataclass(frozen=True)
class PerPart:
    """One scale per output channel and part of a concatenated input (Q-Diffusion's split shortcut).

    Example: a weight `[out, 48]` whose input is 32 channels beside 16 skipped ones -> columns `(32, 16)`, scale `[out, 2]`.
    """

    columns: tuple[int, ...]

    def absmax(self, x: Tensor) -> Tensor:
        """Largest magnitude of every row in every part; `columns` must add up to those of `x`."""
        return torch.stack([part.abs().amax(-1) for part in x.split(self.columns, -1)], -1)

    def sum(self, x: Tensor) -> Tensor:
        """Sum of every row in every part."""
        return torch.stack([part.sum(-1) for part in x.split(self.columns, -1)], -1)

    def spread(self, scale: Tensor, shape: torch.Size) -> Tensor:
        """Every part's scale repeated over its columns."""
        return scale.repeat_interleave(torch.tensor(self.columns, device=scale.device), -1)


def _absmax(x: Tensor, axes: list[int]) -> Tensor:
    """`x.abs().amax(axes, keepdim=True)` without a copy of `x`."""
    return torch.maximum(x.amax(axes, keepdim=True), -x.amin(axes, keepdim=True))


def weight_granularity(spec: WeightSpec, *, taps: int = 1, parts: Sequence[int] = ()) -> WeightGranularity:
    """The granularity that a recipe asks of a weight as a matrix `[out, in * taps]`.

    Args:
        spec: What a recipe asks of weights.
        taps: Columns of an input channel, which are neighbours as in `weight.flatten(1)`: the positions of a convolution's
            kernel, 1 in a linear layer.
        parts: Input channels of each part of a concatenated input, which add up to `in`; empty for an input of one part, all of
            which is one set under `per_concat_group`.

    Returns:
        A granularity whose scales are `[1, 1]` per tensor, `[out, 1]` per channel, `[out, groups]` per group or part.
    """
    if spec.group_size is not None:
        return PerGroup(spec.group_size * taps)
    if spec.granularity == "per_concat_group" and parts:
        return PerPart(tuple(size * taps for size in parts))
    return PerAxes(()) if spec.granularity == "per_tensor" else PerAxes((0,))


def act_granularity(spec: ActivationSpec) -> Granularity:
    """The granularity that a recipe asks of live activations `[batch, ..., channels]`.

    The batch axis is always kept, so that the clips of a batch never share a range and a clip's audio does not depend
    on its neighbours. An input without token axes, `[batch, channels]`, therefore has one token per clip. In a convolution a
    product takes in the channels of many positions, which no scale per position can factor out of the sum: there a dynamic
    `per_token` range is one per clip.
    """
    if spec.granularity == "per_token":
        return PerToken()
    return PerAxes((0,)) if spec.granularity == "per_tensor" else PerAxes((0, -1))
