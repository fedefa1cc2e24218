"""The Fréchet distance without the bias of a finite set: an extrapolation over 1/n."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
N_SIZES, SUBSETS_PER_SIZE = 8, 4
SMALLEST_SHARE = 0.5
# Covariances of fewer windows are so short of rank that noise lowers the distance: no verdict then.
WINDOWS_PER_DIMENSION = 2


@dataclass(frozen=True)
class FdInfinity:
    """An extrapolated distance.

    Attributes:
        value: At infinitely many clips; may lie a little below zero, as an unbiased estimate of nothing has to.
        bias: How much higher the distance at the clips at hand is because they are not more.
        r2: Share of the variance over subsets that the straight line explains.
    """

    value: float
    bias: float
    r2: float


def has_enough_windows(n_windows: int, dim: int) -> bool:
    """Whether a set of windows can carry a verdict about its Fréchet distance.

    Example:
        >>> has_enough_windows(280, 64), has_enough_windows(280, 1024)
        (True, False)
    """
    return n_windows >= WINDOWS_PER_DIMENSION * dim


def clips_for_windows(n_clips: int, n_windows: int, dim: int) -> int:
    """Clips that have enough windows, at as many windows a clip as now."""
    return -(-WINDOWS_PER_DIMENSION * dim * n_clips // n_windows)


def fd_infinity(distances: Callable[[FloatArray], FloatArray], n_clips: int, seed: int) -> FdInfinity | None:
    """Fits `FD(n) = FD_inf + slope / n` to subsets of the clips, and takes the intercept.

    As fadtk's FAD-inf (Gui et al. 2024) after Chong and Forsyth 2020, "Effectively unbiased FID and Inception Score". Two things
    differ from fadtk: whole clips are drawn, since windows of one clip are no independent draws; and they are drawn without
    replacement, so that a subset is a smaller sample of the same truth. With replacement the line would lead to the
    distance of the clips at hand, bias and all.

    Args:
        distances: Fréchet distance of each weighting of the clips `[subsets, clips]` to `[subsets]`; where the target's clips are
            drawn with the generated ones (`frechet_replicates`), the target's bias is taken off as well.
        n_clips: Clips at hand.
        seed: Of the subsets.

    Returns:
        None with so few clips that there are not three sizes of subsets, or if a subset has no distance.
    """
    sizes = np.unique(np.linspace(SMALLEST_SHARE * n_clips, n_clips, N_SIZES).round().astype(int))
    sizes = sizes[sizes >= 2]
    if len(sizes) < 3:
        return None
    rng = np.random.default_rng(seed)
    subsets, drawn = [], []
    for size in sizes:
        for _ in range(1 if size == n_clips else SUBSETS_PER_SIZE):
            subset = np.zeros(n_clips)
            subset[rng.choice(n_clips, size, replace=False)] = 1
            subsets.append(subset)
            drawn.append(size)
    found = distances(np.array(subsets))
    if not np.isfinite(found).all():
        return None
    inverse = 1 / np.array(drawn, dtype=np.float64)
    slope, intercept = np.polyfit(inverse, found, 1)
    left = found - (intercept + slope * inverse)
    variance = found.var()
    r2 = 1 - left.var() / variance if variance else 1.0
    return FdInfinity(float(intercept), float(found[-1] - intercept), float(r2))
