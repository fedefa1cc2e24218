"""Smoothing vectors: how much of each input channel's range moves from the activations to the weights.

`X / s` and `W * s` leave `X W^T` unchanged (eq. 5 of the audio-DiT paper), so any positive `s` is legal; eq. 3 chooses
one that evens out both sides. Vectors are stored as fp16 and rounded once: both sides use the rounded value, so that
rounding costs nothing either. Multiplying a whole table by a constant changes no quantized product (both scales absorb
it); a power of two centres each table in fp16's range.
"""

import math

import torch
from torch import Tensor

from audioptq.errors import UserError
from audioptq.quantize.arithmetic.timestep_groups import choose_groups, group_timesteps, log_ranges, row_max
from audioptq.quantize.recipe.specs import AUTO, SmoothingSpec

FP16_SMALLEST_NORMAL = 2.0**-14
FP16_LARGEST_POWER = 2.0**15


def smooth_scale(act_absmax: Tensor, weight_absmax: Tensor, alpha: float) -> Tensor:
    """`s_j(t) = absmax_j(X(t))^alpha / absmax_j(W)^(1-alpha)`, float64 (eq. 3 of the audio-DiT paper).

    A channel whose activation or weight is zero throughout has nothing to balance and would give 0 or infinity; it gets
    the geometric mean of the other channels at that timestep, which leaves its part in the ranges as it was.

    Args:
        act_absmax: `[..., channels]`.
        weight_absmax: `[channels]`.
        alpha: Strength in `[0, 1]`.
    """
    act, weight = torch.broadcast_tensors(act_absmax.double(), weight_absmax.double())
    is_live = (act > 0) & (weight > 0)
    logs = alpha * torch.where(is_live, act, 1.0).log() - (1 - alpha) * torch.where(is_live, weight, 1.0).log()
    neutral = (logs * is_live).sum(-1, keepdim=True) / is_live.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(is_live, logs, neutral).exp()


def smooth_table(act_absmax: Tensor, weight_absmax: Tensor, spec: SmoothingSpec) -> tuple[Tensor, Tensor]:
    """The smoothing vectors of a layer and which timestep uses which.

    Args:
        act_absmax: Calibrated ranges `[timestep, channel]`.
        weight_absmax: `[channel]`, over output channels.
        spec: One vector for all timesteps, one per group of timesteps, or one per timestep.

    Returns:
        Table fp16 `[row, channel]`, and the row of each timestep, int64 `[timestep]`. Rows that are all equal are one.

    Raises:
        UserError: If more groups are asked for than there are timesteps.
    """
    row_of_timestep = _rows(act_absmax, weight_absmax, spec)
    table = to_fp16(smooth_scale(row_max(act_absmax, row_of_timestep), weight_absmax, spec.alpha))
    if (table == table[0]).all():
        return table[:1], torch.zeros_like(row_of_timestep)
    return table, row_of_timestep


def to_fp16(table: Tensor) -> Tensor:
    """Rounds a positive table to fp16 after centring it with a power of two.

    Ratios up to 2^28 keep fp16's full precision; what lies further out is clamped, which is as legal a choice of s.
    """
    low, high = table.min().log2().item(), table.max().log2().item()
    centred = table * 2.0 ** -math.floor((low + high) / 2)
    return centred.clamp(FP16_SMALLEST_NORMAL, FP16_LARGEST_POWER).half()


def _rows(act_absmax: Tensor, weight_absmax: Tensor, spec: SmoothingSpec) -> Tensor:
    timesteps = len(act_absmax)
    if spec.kind == "static":
        return torch.zeros(timesteps, dtype=torch.int64)
    if spec.kind == "timestep":
        return torch.arange(timesteps)
    if spec.groups == AUTO:
        return choose_groups(act_absmax[:, weight_absmax > 0], spec)
    assert isinstance(spec.groups, int), "checked by the spec"
    if spec.groups > timesteps:
        raise UserError(
            f"would have its timesteps smoothed in {spec.groups} groups, but the calibration has only {timesteps} "
            "timesteps: lower `smoothing.groups`, or calibrate with more steps."
        )
    return group_timesteps(log_ranges(act_absmax), spec.groups)
