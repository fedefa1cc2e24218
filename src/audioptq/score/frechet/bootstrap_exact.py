"""Exact bootstrap of the Fréchet distance: each draw is fitted and measured anew. For small dimensions."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audioptq.score.frechet.windows import FloatArray

# A set whose sums of outer products need more than this is not refitted.
MAX_SUMS_BYTES = 2**28
# Nor is one whose draws take more floating-point operations than this in all: some ten seconds on one core.
MAX_REFIT_FLOP = 1e11
# The square root of one matrix and the eigenvalues of another, in units of dim cubed.
ROOT_FLOP = 60
REPLICATES_AT_ONCE = 50


def is_cheap(n_clips: int, dim: int, n_replicates: int) -> bool:
    """Whether a bootstrap over so many clips and references can be refitted.

    It asks for the clips of the run and not for those that a recipe has: recipes that are compared are drawn in one way.

    Example:
        >>> is_cheap(n_clips=4875 + 881, dim=64, n_replicates=400), is_cheap(n_clips=80, dim=1024, n_replicates=400)
        (True, False)
    """
    flop = n_replicates * (2 * n_clips * dim**2 + ROOT_FLOP * dim**3)
    return n_clips * dim**2 * 8 <= MAX_SUMS_BYTES and flop <= MAX_REFIT_FLOP


class Fitted(Protocol):
    """A set of windows that can be fitted under a weighting of its clips."""

    def fit(self, counts: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Numbers of windows `[draws]`, means `[draws, dim]`, covariances `[draws, dim, dim]`."""
        ...


class ClipMoments:
    """Mean and covariance of a set of windows under any weighting of its clips.

    With clip i drawn c_i times: `N = sum c_i n_i`, `m = sum c_i s_i / N`,
    `C = (sum c_i S_i - N m m^T) / (N - 1)`, where n_i, s_i, S_i are the number, the sum and the sum of outer products
    of clip i's windows. They are formed once, so a replicate costs one small matrix product.

    Args:
        windows: `[windows, dim]`.
        window_clip: Clip of each window `[windows]`, from 0 to `n_clips - 1`.
        n_clips: Number of clips; clips without windows are allowed.
    """

    def __init__(self, windows: FloatArray, window_clip: NDArray[np.int64], n_clips: int) -> None:
        order = np.argsort(window_clip, kind="stable")
        self.n_windows = np.bincount(window_clip, minlength=n_clips).astype(np.float64)
        self.sums = np.zeros((n_clips, windows.shape[1]))
        np.add.at(self.sums, window_clip, windows)
        ends = np.cumsum(self.n_windows).astype(int)[:-1]
        self.outer = np.stack([(part.T @ part).reshape(-1) for part in np.split(windows[order], ends)])

    def fit(self, counts: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Numbers of windows `[draws]`, means `[draws, dim]` and covariances `[draws, dim, dim]` of weighted clips.

        Args:
            counts: How often each draw has each clip, `[draws, clips]`.
        """
        n_windows = counts @ self.n_windows
        usable = np.maximum(n_windows, 2.0)
        means = counts @ self.sums / usable[:, None]
        dim = means.shape[1]
        outer = (counts @ self.outer).reshape(-1, dim, dim)
        spread = outer - usable[:, None, None] * means[:, :, None] * means[:, None, :]
        return n_windows, means, spread / (usable - 1)[:, None, None]


def gaussian_distance(mean1: FloatArray, cov1: FloatArray, mean2: FloatArray, cov2: FloatArray) -> FloatArray:
    """Fréchet distances of pairs of Gaussians: means `[pairs, dim]`, covariances `[pairs, dim, dim]`, to `[pairs]`.

    The symmetric form has the same trace as `(C1 C2)^1/2` and needs only eigenvalues of symmetric matrices: it is real
    for covariances of any rank.
    """
    eigenvalues, vectors = np.linalg.eigh(cov1)
    # Rounding turns zero eigenvalues of a rank-deficient covariance into small negative ones.
    root = (vectors * np.sqrt(np.clip(eigenvalues, 0, None))[:, None, :]) @ vectors.transpose(0, 2, 1)
    middle = root @ cov2 @ root
    cross = np.sqrt(np.clip(np.linalg.eigvalsh((middle + middle.transpose(0, 2, 1)) / 2), 0, None)).sum(axis=1)
    traces = np.trace(cov1, axis1=1, axis2=2) + np.trace(cov2, axis1=1, axis2=2)
    return np.asarray(np.clip(np.sum((mean1 - mean2) ** 2, axis=1) + traces - 2 * cross, 0, None), dtype=np.float64)


def frechet_replicates(
    *, target: Fitted, generated: Fitted, target_counts: FloatArray, generated_counts: FloatArray
) -> FloatArray:
    """Fréchet distance of each bootstrap draw `[draws]`; NaN where a draw has fewer than 2 windows on a side.

    Args:
        target: Moments of the reference clips, or a fixed Gaussian.
        generated: Moments of the generated clips.
        target_counts: How often each draw has each reference clip `[draws, reference clips]`.
        generated_counts: How often each draw has each generated clip `[draws, clips]`.
    """
    distances = []
    for start in range(0, len(generated_counts), REPLICATES_AT_ONCE):
        draws = slice(start, start + REPLICATES_AT_ONCE)
        n1, mean1, cov1 = target.fit(target_counts[draws])
        n2, mean2, cov2 = generated.fit(generated_counts[draws])
        distance = gaussian_distance(mean1, cov1, mean2, cov2)
        distances.append(np.where(np.minimum(n1, n2) >= 2, distance, np.nan))
    return np.concatenate(distances) if distances else np.zeros(0)
