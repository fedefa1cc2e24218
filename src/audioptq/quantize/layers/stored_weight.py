"""Quantizing a weight `[out, in]` as a recipe asks, and putting it back together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.granularity import weight_granularity
from audioptq.quantize.arithmetic.packing import unpack
from audioptq.quantize.arithmetic.primitives import choose_scale, dequantize, quantize
from audioptq.quantize.recipe.specs import WeightSpec

# What an integer product takes: the stored form requantizes to this at every timestep, whatever its storage.
COMPUTE_WEIGHT = WeightSpec(bits=8, granularity="per_channel")
# Output channels that are requantized at once: what is made on the way stays within the cache.
CHANNELS_AT_ONCE = 256
# A compute weight of at most this many elements is kept from one call to the next. Making a larger one anew costs a few percent
# of the product that it is made for; keeping all of them would take more memory than the full-precision model.
KEPT_WEIGHTS = 2**20
# A larger one is made, used and let go a few output channels at a time: about this many elements. Products of those channels, in as
# many parts as exact sums need, are the room that a step takes beside its activations.
WEIGHTS_AT_ONCE = 2**20
EVERY = slice(None)


def weight_scale(weight: Tensor, spec: WeightSpec) -> Tensor:
    """The scales as they are stored: one per set of weights that share it."""
    return choose_scale(weight_granularity(spec).absmax(weight), spec.bits)


def spread_scale(scale: Tensor, weight: Tensor, spec: WeightSpec) -> Tensor:
    """Stored scales in a shape that broadcasts against the weight."""
    return weight_granularity(spec).spread(scale, weight.shape)


def quantize_weight(weight: Tensor, spec: WeightSpec) -> tuple[Tensor, Tensor]:
    """int8 `[out, in]` and the scale that broadcasts against it."""
    scale = spread_scale(weight_scale(weight, spec), weight, spec)
    return quantize(weight, scale, spec.bits), scale


def stored_weight(
    qdata: Tensor, scale: Tensor, spec: WeightSpec, in_features: int, channels: slice = EVERY
) -> tuple[Tensor, Tensor]:
    """A stored weight, packed `[out, bytes]`, as int8 `[out, in]` and the scale that broadcasts against it.

    Args:
        qdata: As stored.
        scale: As stored.
        spec: How it was quantized.
        in_features: Input channels.
        channels: Output channels that are wanted.
    """
    stored = unpack(qdata[channels], spec.bits, in_features)
    return stored, spread_scale(scale if len(scale) == 1 else scale[channels], stored, spec)


def requantize(
    qdata: Tensor, scale: Tensor, spec: WeightSpec, smooth: Tensor, channels: slice = EVERY
) -> tuple[Tensor, Tensor]:
    """A stored weight times a smoothing vector `[in]`, quantized again to `COMPUTE_WEIGHT`; see `stored_weight`."""
    start, stop, _ = channels.indices(len(qdata))
    weight = torch.empty(stop - start, len(smooth), dtype=torch.int8, device=qdata.device)
    scales = []
    for first in range(start, stop, CHANNELS_AT_ONCE):
        last = min(first + CHANNELS_AT_ONCE, stop)
        stored = dequantize(*stored_weight(qdata, scale, spec, len(smooth), slice(first, last)))
        part, part_scale = quantize_weight(stored.mul_(smooth.to(stored.dtype)), COMPUTE_WEIGHT)
        weight[first - start : last - start] = part
        scales.append(part_scale)
    return weight, torch.cat(scales)


def is_kept(shape: Sequence[int]) -> bool:
    """Whether the compute weight of `shape` (out, in) may be kept from one call to the next, where it stays the same."""
    return shape[0] * shape[1] <= KEPT_WEIGHTS


def channels_at_once(shape: Sequence[int]) -> Iterator[slice]:
    """Ranges of output channels, in order, in which a larger compute weight of `shape` (out, in) is made and used."""
    step = max(1, WEIGHTS_AT_ONCE // shape[1])
    for first in range(0, shape[0], step):
        yield slice(first, first + step)


def compute_weight_bytes(shapes: Iterable[Sequence[int]], smoothing: Mapping[str, Any]) -> int:
    """About what float32 compute weights take in a step of the simulated form: those kept, and the largest made for one product.

    Args:
        shapes: `(out, in)` of each quantized layer.
        smoothing: As a recipe's record has it; empty for none.
    """
    shapes = list(shapes)
    is_used_again, is_made_whole = smoothing.get("kind") != "timestep", smoothing.get("form") == "simulated"
    kept = sum(rows * columns for rows, columns in shapes if is_used_again and is_kept((rows, columns)))
    largest = max((rows * columns for rows, columns in shapes), default=0)
    return 4 * (kept + (largest if is_made_whole else min(largest, WEIGHTS_AT_ONCE)))
