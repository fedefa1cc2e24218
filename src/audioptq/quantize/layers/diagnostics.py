"""How far a quantized weight is from the original, and what a layer's ranges say about smoothing."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.low_rank import LowRankBranch
from audioptq.quantize.arithmetic.timestep_groups import log_ranges
from audioptq.quantize.layers.quant_op import QuantOp


@dataclass(frozen=True)
class WeightError:
    """`E_t = W - W_eff(t)`, what the effective weight lacks at timestep t, averaged over timesteps.

    Attributes:
        mean: `mean_t E_t`, `[out, in]`.
        power: `mean_t |E_t|^2`.
    """

    mean: Tensor
    power: float

    def power_with(self, branch: LowRankBranch) -> float:
        """`mean_t |E_t - L|^2 = power - 2 <mean, L> + |L|^2`: what is left beside a branch of weight L."""
        added = branch.weight(torch.float64)
        return self.power + (added * (added - 2 * self.mean)).sum().item()


def weight_error(weight: Tensor, layer: QuantOp) -> WeightError:
    """The error of a layer's effective weight, in one pass over its smoothing vectors."""
    mean, power = torch.zeros_like(weight), 0.0
    for row, share in enumerate(layer.row_shares.tolist()):
        error = weight - layer.effective_weight(row)
        mean += share * error
        power += share * error.square().sum().item()
    return WeightError(mean, power)


def sqnr_db(weight: Tensor, noise_power: float) -> float:
    """Signal-to-quantization-noise ratio `10 log10(|W|^2 / noise_power)` in dB; infinite without noise."""
    signal_power = weight.square().sum().item()
    if noise_power <= 0:
        return math.inf
    return 10 * math.log10(signal_power / noise_power) if signal_power > 0 else -math.inf


def rows_of_timesteps(layer: QuantOp, timesteps: int) -> Tensor:
    """Row of the layer's smoothing table that each timestep uses, int64 `[timestep]`."""
    if layer.smooth_row is not None:
        return layer.smooth_row.long().cpu()
    return torch.zeros(timesteps, dtype=torch.int64) if layer.rows == 1 else torch.arange(timesteps)


def interaction_share(act_absmax: Tensor) -> float:
    """Share of the variance of `log absmax[timestep, channel]` that is timestep-by-channel interaction, in `[0, 1]`.

    Two-way analysis of variance: `log absmax = mean + u_t + v_j + r_tj`; the share is `|r|^2 / |u + v + r|^2`. A common
    factor `u_t` leaves a dynamic symmetric quantizer unchanged and `v_j` is what one static smoothing vector captures,
    so only `r` can make a vector per timestep worth its cost. 0 where nothing varies.
    """
    logs = log_ranges(act_absmax)
    deviation = logs - logs.mean()
    residual = deviation - deviation.mean(0, keepdim=True) - deviation.mean(1, keepdim=True)
    total = deviation.square().mean().item()
    # Below the rounding of the mean nothing varies.
    rounding = torch.finfo(logs.dtype).eps * (1 + logs.abs().max().item())
    return residual.square().mean().item() / total if total > rounding**2 else 0.0
