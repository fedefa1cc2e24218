"""Exact dynamic time warping in a Sakoe-Chiba band."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """The cheapest warping path: its total cost, its number of steps and how far from a straight one it is.

    Attributes:
        cost: Sum of distances along the path.
        n_steps: Pairs of frames on the path.
        penalty: `2 - 2 frames / n_steps`, 0 for the diagonal, below 1 (Battenberg et al. 2020, as in
            mel_cepstral_distance).
    """

    cost: float
    n_steps: int
    penalty: float


def align(*, target: FloatArray, generated: FloatArray, radius: int) -> Alignment:
    """Finds the warping path of least total Euclidean distance, steps (1, 1), (0, 1) and (1, 0) of equal weight.

    `D[i, j] = |target_i - generated_j| + min(D[i-1, j-1], D[i, j-1], D[i-1, j])` for `|i - j| <= radius`; among equals
    the first of the three is taken, as librosa does.

    The cells of an antidiagonal do not depend on each other, so numpy computes each at once: 10 s of audio take some
    40 ms, and nothing is compiled first (librosa's DTW, with which a test compares, compiles for 20 s when new).

    Source: Sakoe and Chiba 1978.

    Args:
        target: Frames `[frames, dim]`.
        generated: Frames `[frames, dim]`, as many.
        radius: Largest `|i - j|`.

    Example:
        >>> late = np.array([[0.0], [0.0], [0.0], [5.0], [0.0]])
        >>> early = np.array([[0.0], [5.0], [0.0], [0.0], [0.0]])
        >>> align(target=late, generated=early, radius=2)
        Alignment(cost=0.0, n_steps=7, penalty=0.5714285714285714)

    Raises:
        ValueError: If shapes differ or there are no frames.
    """
    if target.ndim != 2 or target.shape != generated.shape or len(target) == 0 or radius < 0:
        raise ValueError(f"target {target.shape} and generated {generated.shape} must both be [frames, dim]")
    n_frames = len(target)
    # Entry i + 1 belongs to cell (i, s - i) of antidiagonal s; entry 0 stands for the cells outside.
    before = np.full((2, n_frames + 1), np.inf)
    last = np.full((2, n_frames + 1), np.inf)
    for s in range(2 * n_frames - 1):
        low = max(0, s - n_frames + 1, (s - radius + 1) // 2)
        high = min(s, n_frames - 1, (s + radius) // 2)
        current = np.full((2, n_frames + 1), np.inf)
        if low <= high:
            rows = slice(low, high + 1)
            distance = np.sqrt(((target[rows] - generated[s - high : s - low + 1][::-1]) ** 2).sum(axis=1))
            current[:, low + 1 : high + 2] = _step(before, last, low, high) if s else 0.0
            current[0, low + 1 : high + 2] += distance
            current[1, low + 1 : high + 2] += 1
        before, last = last, current
    cost, n_steps = float(last[0, n_frames]), int(last[1, n_frames])
    return Alignment(cost, n_steps, 2 - 2 * n_frames / n_steps)


def _step(before: FloatArray, last: FloatArray, low: int, high: int) -> FloatArray:
    """Cheapest predecessor of cells low..high of an antidiagonal: its cost and its number of steps `[2, cells]`."""
    best = before[:, low : high + 1]
    for other in (last[:, low + 1 : high + 2], last[:, low : high + 1]):
        best = np.where(other[0] < best[0], other, best)
    return best
