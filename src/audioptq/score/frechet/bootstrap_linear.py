"""Linearised bootstrap of the Fréchet distance: one influence per clip, no draw is fitted anew. For large dimensions."""

from dataclasses import dataclass

import numpy as np

from audioptq.score.frechet.windows import FloatArray, Gaussian, WindowSet


@dataclass(frozen=True)
class Transport:
    """Optimal transport between two Gaussians, by which the Fréchet distance changes with their covariances.

    `d FD = 2 (m1 - m2) . (dm1 - dm2) + tr ((I - T12) dC1) + tr ((I - T21) dC2)`, where T12 carries the first Gaussian's
    deviations to the second's: `T12 C1 T12 = C2`. It is held as a factor, `T12 = A1^T A1`.

    With `C = F F^T`, `F = V sqrt(e)` of the eigenvalues e above rounding, and the singular value decomposition
    `F1^T F2 = U S W^T`: `A1 = sqrt(S) U^T F1^+`, `A2 = sqrt(S) W^T F2^+`. Directions that a set does not have are left out,
    which is exact: reweighting its windows never reaches them.

    Source: Dowson and Landau 1982; the map is Olkin and Pukelsheim's 1982.

    Attributes:
        factors: A1 and A2, `[rank, dim]`.
        cross: `tr (C1^1/2 C2 C1^1/2)^1/2`, the sum of S.
    """

    factors: tuple[FloatArray, FloatArray]
    cross: float

    @classmethod
    def between(cls, first: Gaussian, second: Gaussian) -> "Transport":
        """Computes both directions from two eigenvalue decompositions and one of singular values."""
        (value1, vector1), (value2, vector2) = _axes(first.covariance), _axes(second.covariance)
        root1, root2 = np.sqrt(value1), np.sqrt(value2)
        left, singular, right = np.linalg.svd(root1[:, None] * (vector1.T @ vector2) * root2, full_matrices=False)
        scale = np.sqrt(singular)[:, None]
        factors = scale * left.T / root1 @ vector1.T, scale * right / root2 @ vector2.T
        return cls(factors, float(singular.sum()))


def _axes(covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues `[rank]` above rounding and their vectors `[dim, rank]`."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    return values[kept], vectors[:, kept]


def influences(windows: WindowSet, own: Gaussian, other: Gaussian, factor: FloatArray, cross: float) -> FloatArray:
    """Derivative of the Fréchet distance by the weight of each clip of one set, at weight 1, `[clips]`.

    With clip i weighted c_i the fit is `N = sum c_i n_i`, `m = sum c_i s_i / N`, `C = sum c_i S_i / (N - 1)` (sums about m).
    At c = 1, with `y = x - m` over the clip's windows x and `G = I - A^T A`:

    `2 (m - m') . sum y / N + (sum y^T G y - n_i tr (G C)) / (N - 1)`

    Args:
        windows: The set.
        own: Its fit.
        other: The fit of the set that it is compared with, m'.
        factor: A of the set (see `Transport`), `[rank, dim]`.
        cross: See `Transport`; `tr (G C) = tr C - cross`.
    """
    n_windows = len(windows)
    shift = 2 * (own.mean - other.mean)
    values = np.zeros(windows.n_clips)
    for block, clip in windows.blocks():
        block -= own.mean
        of_mean = block @ shift / n_windows
        curvature = np.einsum("nd,nd->n", block, block)
        mapped = block @ factor.T
        curvature -= np.einsum("nr,nr->n", mapped, mapped)
        values += np.bincount(clip, of_mean + curvature / (n_windows - 1), minlength=windows.n_clips)
    return values - windows.counts() * (np.trace(own.covariance) - cross) / (n_windows - 1)


@dataclass(frozen=True)
class Drawn:
    """One side of a bootstrap: influence and windows of each clip `[clips]`, and the draws' counts `[draws, clips]`."""

    influence: FloatArray
    n_windows: FloatArray
    counts: FloatArray

    def shifts(self) -> FloatArray:
        """By how much each draw moves the distance, to first order, `[draws]`; NaN for a draw with fewer than 2 windows.

        `N / N_r sum_i (c_ri - 1) influence_i`: the weights of a draw sum to one, so that its number of windows alone moves
        nothing, and a mean is exact.
        """
        drawn = self.counts @ self.n_windows
        scale = self.n_windows.sum() / np.where(drawn >= 2, drawn, np.nan)
        return np.asarray((self.counts - 1) @ self.influence * scale, dtype=np.float64)


def linearised_replicates(
    estimate: float, *, target: WindowSet | Gaussian, generated: WindowSet, target_counts: FloatArray,
    generated_counts: FloatArray, fits: tuple[Gaussian, Gaussian],
) -> FloatArray:  # fmt: skip
    """Fréchet distance of each bootstrap draw to first order in its weights `[draws]` (the infinitesimal jackknife).

    Clips and references may be drawn together: each side moves by its own influences, and a cluster that is drawn moves
    both. Replicates lie around the estimate; what the second order adds is above all a shift, which the interval
    removes anyway. Second order matters where the distance is hardly above what the number of windows alone gives.

    Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, sections 2.7 and 9.4 (influence values).

    Args:
        estimate: Distance of the sets as they are.
        target: Windows of the reference clips, or a Gaussian that is not drawn.
        generated: Windows of the generated clips.
        target_counts: How often each draw has each reference clip `[draws, reference clips]`.
        generated_counts: How often each draw has each generated clip `[draws, clips]`.
        fits: Gaussians of target and generated.
    """
    transport = Transport.between(*fits)
    sides = [(generated, fits[1], fits[0], transport.factors[1], generated_counts)]
    if isinstance(target, WindowSet):
        sides.append((target, fits[0], fits[1], transport.factors[0], target_counts))
    replicates = np.full(len(generated_counts), estimate)
    for windows, own, other, factor, counts in sides:
        influence = influences(windows, own, other, factor, transport.cross)
        replicates = replicates + Drawn(influence, windows.counts(), counts).shifts()
    return replicates
