"""Groups of neighbouring timesteps that share a smoothing vector: where one ends, and how many a layer needs.

A smoothing vector is, in log2, `alpha log2 absmax_j(X(t))` plus a term of the weight alone. A two-way analysis of variance
splits `log2 absmax_j(X(t)) = u_t + v_j + r_tj`. `u_t` scales a whole timestep, which a dynamic symmetric range takes up:
it is worth no vector. `v_j` is in every vector alike. What differs between the vectors of two timesteps is `alpha r_tj`.
"""

import math

import torch
from torch import Tensor

from audioptq.quantize.recipe.specs import SmoothingSpec


def choose_groups(act_absmax: Tensor, spec: SmoothingSpec) -> Tensor:
    """The fewest groups of neighbouring timesteps whose vectors are near enough to those of their timesteps.

    Near enough is a `smoothing_gap` of at most `spec.tolerance` bits. For every number of groups the boundaries are those
    of the least gap, found exactly. A size in bits is asked for and not a share of the variance: where ranges hardly vary,
    most of what varies may be interaction, and following it would still buy nothing. `spec.max_groups` groups are the most,
    whatever their gap.

    Args:
        act_absmax: Calibrated ranges `[timestep, channel]`.
        spec: With automatic groups.

    Returns:
        Group of each timestep, int64 `[timestep]`, ascending from 0.
    """
    assert spec.tolerance is not None, "set by the spec where groups are automatic"
    assert spec.max_groups is not None, "set by the spec where groups are automatic"
    logs = _log_smoothing(act_absmax, spec.alpha)
    spread = _spread_around_maximum(logs)
    most = min(spec.max_groups, len(logs))
    for groups in range(1, most):
        group, total = _partition(spread, groups)
        if _root_mean_square(total, logs) <= spec.tolerance:
            return group
    return _partition(spread, most)[0]


def smoothing_gap(act_absmax: Tensor, row_of_timestep: Tensor, alpha: float) -> float:
    """How far the smoothing vectors that are used are from those of smoothing per timestep, bits.

    Root mean square over timesteps and channels of `log2(s_row(t),j / s_tj)`, less its mean over the channels of each
    timestep. 0 with a vector per timestep. With one vector for all it is at least `alpha` times the root mean square of the
    interaction r, which the mean of all vectors would leave; the vector of the maximum leaves somewhat more.

    Args:
        act_absmax: Calibrated ranges `[timestep, channel]`.
        row_of_timestep: Which timesteps share a vector, int64 `[timestep]`.
        alpha: Strength of the smoothing.
    """
    logs = _log_smoothing(act_absmax, alpha)
    difference = logs - row_max(logs, row_of_timestep)[row_of_timestep]
    return _root_mean_square(_centred(difference).square().sum().item(), logs)


def group_timesteps(log_absmax: Tensor, groups: int) -> Tensor:
    """Splits the timesteps into a given number of contiguous groups of similar ranges.

    Minimises the summed squared distance of every timestep's `log absmax` vector from the mean of its group, exactly.

    Args:
        log_absmax: `[timestep, channel]`.
        groups: Number of groups, at most the number of timesteps.

    Returns:
        Group of each timestep, int64 `[timestep]`, ascending from 0.
    """
    return _partition(_spread_around_mean(log_absmax.double()), groups)[0]


def log_ranges(act_absmax: Tensor) -> Tensor:
    """`log absmax`, float64; zeros become the smallest positive range of their channel, or 1 if it has none."""
    absmax = act_absmax.double()
    floor = torch.where(absmax > 0, absmax, math.inf).amin(0)
    return torch.maximum(absmax, torch.where(floor.isinf(), 1.0, floor)).log()


def row_max(values: Tensor, row_of_timestep: Tensor) -> Tensor:
    """Maximum over the timesteps of each row: `[timestep, ...]` -> `[row, ...]`."""
    rows = int(row_of_timestep.max()) + 1
    return torch.stack([values[row_of_timestep == row].amax(0) for row in range(rows)])


def _partition(spread: Tensor, groups: int) -> tuple[Tensor, float]:
    """The contiguous groups of least total spread, by dynamic programming over the boundaries, and that total."""
    timesteps = len(spread) - 1
    best, starts = spread[0], []
    for _ in range(groups - 1):
        # best[j]: least spread of the first j timesteps; the last segment starts at i.
        total = best[:, None] + spread
        best, start = total.min(0)
        starts.append(start)
    boundaries, end = [], timesteps
    for start in reversed(starts):
        end = int(start[end])
        boundaries.append(end)
    group = torch.zeros(timesteps, dtype=torch.int64)
    for boundary in boundaries:
        group[boundary:] += 1
    return group, best[timesteps].item()


def _spread_around_mean(values: Tensor) -> Tensor:
    """`[i, j]`: squared distance of rows `i..j-1` from their mean, summed; infinite for empty segments."""
    timesteps = len(values)
    zero = torch.zeros(1, values.shape[1], dtype=values.dtype)
    sums = torch.cat([zero, values.cumsum(0)])
    squares = torch.cat([zero[:, 0], values.square().sum(1).cumsum(0)])
    spread = torch.full((timesteps + 1, timesteps + 1), math.inf, dtype=values.dtype)
    for start in range(timesteps):
        lengths = torch.arange(1, timesteps - start + 1)
        of_means = (sums[start + 1 :] - sums[start]).square().sum(1) / lengths
        spread[start, start + 1 :] = squares[start + 1 :] - squares[start] - of_means
    return spread


def _spread_around_maximum(values: Tensor) -> Tensor:
    """The same around the maximum over the rows of a segment, which is its vector; a mean over channels counts nowhere."""
    timesteps, centred = len(values), _centred(values)
    spread = torch.full((timesteps + 1, timesteps + 1), math.inf, dtype=values.dtype)
    squares = torch.cat([torch.zeros(1, dtype=values.dtype), centred.square().sum(1).cumsum(0)])
    # Row j: maxima and sums over the segment from the present start to j.
    maxima, sums = values.clone(), torch.zeros_like(values)
    for start in reversed(range(timesteps)):
        top, total = maxima[start:], sums[start:]
        torch.maximum(top, values[start], out=top)
        total += centred[start]
        lengths = torch.arange(1, timesteps - start + 1)
        of_maxima = torch.linalg.vecdot(top, top) - top.sum(1).square() / max(values.shape[1], 1)
        distance = squares[start + 1 :] - squares[start] - 2 * torch.linalg.vecdot(top, total) + lengths * of_maxima
        # A difference of large numbers: rounding may leave it below zero.
        spread[start, start + 1 :] = distance.clamp(min=0)
    return spread


def _log_smoothing(act_absmax: Tensor, alpha: float) -> Tensor:
    """What the activations put into the vector of each timestep, log2; channels that are always zero are left out."""
    live = (act_absmax > 0).any(0)
    return log_ranges(act_absmax[:, live]) * (alpha / math.log(2))


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(-1, keepdim=True)


def _root_mean_square(total: float, values: Tensor) -> float:
    return math.sqrt(total / max(values.numel(), 1))
