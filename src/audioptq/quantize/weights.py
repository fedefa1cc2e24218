"""Quantizing a weight `[out, in]` as a recipe asks, and putting it back together."""

from torch import Tensor

from audioptq.quantize.granularity import weight_granularity
from audioptq.quantize.primitives import choose_scale, quantize
from audioptq.quantize.specs import WeightSpec

# What an integer product takes: the stored form requantizes to this at every timestep, whatever its storage.
COMPUTE_WEIGHT = WeightSpec(bits=8, granularity="per_channel")


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
