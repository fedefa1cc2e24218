"""Products of integers that are held as floats, with exact sums: the simulated form adds up what the kernels for integers do."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from audioptq.quantize.arithmetic.primitives import qmax
from audioptq.quantize.recipe.specs import LayerRecipe

# Up to here every integer is a float of the type, so that no sum is rounded, in whatever order a library takes it.
LARGEST = {torch.float32: 2**24, torch.float64: 2**53}


def not_integer(recipe: LayerRecipe, has_scale_per_output: bool) -> str | None:
    """What in a layer's recipe no product of integers can do, as a clause; None if one can do it all.

    Args:
        recipe: The layer's.
        has_scale_per_output: Whether no scale of the integers that meet the activations varies along the weight's columns.
    """
    if recipe.weight is None or recipe.activation is None:
        return "one operand is not quantized"
    if recipe.activation.granularity == "per_channel":
        return "its activations have a scale per input channel, which no sum over input channels can apply"
    if not has_scale_per_output:
        return f"its weights have scales {recipe.weight.granularity}, which no sum over input channels can apply"
    return None


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The float type in which products of layers with inputs of `dtype` are summed: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def exact_linear(x: Tensor, weight: Tensor, bits: tuple[int, int]) -> Tensor:
    """`x W^T`, exact, rounded once to the type of `x`: what an integer product gives as float.

    The input channels are summed in so few parts that no part leaves the range of exact integers: 1,040 channels in float32 for two
    operands of 8 bits, 18,872 for 8 and 4 bits.

    Args:
        x: Integers in float32 or float64, `[..., in]`.
        weight: Integers of the same type, `[out, in]`.
        bits: Width of the integers of `x` and of `weight`.
    """
    channels, held = x.shape[-1], LARGEST[x.dtype] // (qmax(bits[0]) * qmax(bits[1]))
    n_parts = -(-channels // held)
    if n_parts <= 1:
        return functional.linear(x, weight)
    edges = [part * channels // n_parts for part in range(n_parts + 1)]
    sums = (functional.linear(x[..., start:stop], weight[:, start:stop]) for start, stop in pairwise(edges))
    total = next(sums)
    if n_parts == 2:  # a float addition of two exact terms rounds once
        return total.add_(next(sums))
    wide = total.double()
    for part in sums:
        wide += part
    return wide.to(x.dtype)
