"""Products of a quantized layer in float, and what is added to a product."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.exact_sums import exact_linear
from audioptq.quantize.arithmetic.low_rank import add_branch
from audioptq.quantize.layers.cast import product
from audioptq.quantize.layers.stored_weight import StoredWeight
from audioptq.quantize.layers.weight_cache import EVERY, WeightCache, channels_at_once


@dataclass(frozen=True)
class Epilogue:
    """What a layer does to a product: adds its bias and its low-rank branch, and rounds to the type of its output.

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


class Product(Protocol):
    """What multiplies for a layer: given a row of the smoothing table, a function of tokens, their scale and an epilogue."""

    def __call__(self, row: int) -> Callable[[Tensor, Tensor | None, Epilogue], Tensor]:
        """`(tokens [..., in * taps], scale, epilogue) -> scale * (tokens W_s^T) + bias + branch`, `[..., out]`."""
        ...


class FloatProduct:
    """Integers held as floats, whose sums are exact, then scaled; or floats, where scales vary along the columns.

    Args:
        stored: The weight.
        cache: What is kept of it.
        is_exact: Whether integers are multiplied.
    """

    def __init__(self, stored: StoredWeight, cache: WeightCache, *, is_exact: bool) -> None:
        self.stored = stored
        self.cache = cache
        self.is_exact = is_exact

    def __call__(self, row: int) -> Callable[[Tensor, Tensor | None, Epilogue], Tensor]:
        """See `Product`."""
        return partial(self._multiply, row)

    def _multiply(self, row: int, tokens: Tensor, scale: Tensor | None, epilogue: Epilogue) -> Tensor:
        if self.cache.is_small or self.stored.recipe.keeps_weight:
            y = self._times(tokens, row, EVERY)
        else:
            y = tokens.new_empty(*tokens.shape[:-1], self.stored.geometry.out_channels)
            for channels in channels_at_once(self.stored.geometry.shape):
                y[..., channels] = self._times(tokens, row, channels)
        return finish(y if scale is None else y.mul_(scale), epilogue)

    def _times(self, tokens: Tensor, row: int, channels: slice) -> Tensor:
        """The tokens times the weight of some output channels, with the weight's scales."""
        key = row, tokens.dtype
        if not self.is_exact:
            weight = self.cache.get(
                key, lambda: self.stored.floats(row, channels).to(tokens.dtype), keep=self.cache.is_small
            )
            return product(tokens, weight)
        made = partial(self._integers, row, tokens.dtype, channels)
        integers, scale = self.cache.get(key, made, keep=self.cache.is_small)
        activation = self.stored.recipe.activation
        assert activation is not None, "an exact product has two quantized operands"
        return exact_linear(tokens, integers, (activation.bits, self.stored.compute_bits)).mul_(scale)

    def _integers(self, row: int, dtype: torch.dtype, channels: slice) -> tuple[Tensor, Tensor]:
        integers, scale = self.stored.integers(row, channels)
        return integers.to(dtype), scale.flatten().to(dtype)


def finish(y: Tensor, epilogue: Epilogue) -> Tensor:
    """A product with its bias and its branch, in that order, rounded once to the type of the result; in the memory of `y`."""
    y = y.to(torch.promote_types(y.dtype, epilogue.dtype))
    if epilogue.bias is not None:
        y = y.add_(epilogue.bias)
    if epilogue.inner is not None and epilogue.factor is not None:
        add_branch(y.flatten(0, -2), epilogue.inner, epilogue.factor)
    return y.to(epilogue.dtype)
