import numpy as np
import pytest

from audioptq.score.bootstrap import draw_counts
from audioptq.score.frechet.bootstrap_exact import ClipMoments, frechet_replicates
from audioptq.score.frechet.bootstrap_linear import Drawn, Transport, influences, linearised_replicates
from audioptq.score.frechet.frechet import distance_of, frechet_distance
from audioptq.score.frechet.windows import WindowSet
from audioptq.score.verdict import Difference

Sides = tuple[WindowSet, WindowSet]


def two_sides(dim: int, n_references: int, captions: int, per_clip: int, seed: int = 0, dtype=np.float64) -> Sides:
    """References and the clips of their captions: windows of a clip are alike, and so are a reference and its captions."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, dim + 1) ** -0.5
    mix, tilt = np.random.default_rng(5).standard_normal((2, dim, dim))
    axes, other_axes = np.linalg.qr(mix)[0], np.linalg.qr(mix + 0.3 * tilt)[0]
    common = rng.standard_normal((n_references, dim))
    own = np.repeat(common, captions, axis=0) / 2 + np.sqrt(0.75) * rng.standard_normal((n_references * captions, dim))
    sides = []
    for clips, rotation, gain, shift in ((common, axes, 1.0, 0.0), (own, other_axes, 1.1, 0.1)):
        rows = np.repeat(np.arange(len(clips)), per_clip)
        windows = (clips[rows] + 0.7 * rng.standard_normal((len(rows), dim))) * scale * gain @ rotation + shift
        sides.append(WindowSet(windows.astype(dtype), rows, len(clips)))
    return sides[0], sides[1]


def weighted_distance(sides: Sides, weights: tuple[np.ndarray, np.ndarray]) -> float:
    """By the windows themselves: the last term is the nuclear norm of R1 R2^T, where C = R^T R. No root is taken."""
    means, roots = [], []
    for side, weight in zip(sides, weights, strict=True):
        each = weight[side.clip][:, None]
        means.append((each * side.windows).sum(axis=0) / each.sum())
        roots.append(np.sqrt(each / (each.sum() - 1)) * (side.windows - means[-1]))
    nuclear = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return np.sum((means[0] - means[1]) ** 2) + sum(np.sum(root**2) for root in roots) - 2 * nuclear


def side_influences(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    fits = sides[0].gaussian(), sides[1].gaussian()
    transport = Transport.between(*fits)
    first = influences(sides[0], *fits, transport.factors[0], transport.cross)
    return first, influences(sides[1], *fits[::-1], transport.factors[1], transport.cross)


@pytest.mark.parametrize(
    ("dim", "n_references"), [(8, 30), (40, 6)], ids=["full rank", "fewer windows than dimensions"]
)
def test_influences_are_the_derivative_by_the_clips_weights(dim: int, n_references: int) -> None:
    sides = two_sides(dim, n_references, captions=1, per_clip=3)
    values = side_influences(sides)
    ones = tuple(np.ones(side.n_clips) for side in sides)
    for index in range(2):
        for clip in (0, 3, sides[index].n_clips - 1):
            distances = []
            for step in (1e-4, -1e-4):
                weights = [array.copy() for array in ones]
                weights[index][clip] += step
                distances.append(weighted_distance(sides, (weights[0], weights[1])))
            # Central differences: an error of the step squared, 1e-8, and rounding of 1e-15 over the step.
            slope = (distances[0] - distances[1]) / 2e-4
            assert values[index][clip] == pytest.approx(slope, abs=1e-6 * np.abs(values[index]).max())


def test_the_transport_carries_one_covariance_to_the_other() -> None:
    first, second = (side.gaussian() for side in two_sides(12, 40, 1, 3))
    transport = Transport.between(first, second)
    forth, back = (factor.T @ factor for factor in transport.factors)
    np.testing.assert_allclose(forth @ first.covariance @ forth, second.covariance, atol=1e-10)
    np.testing.assert_allclose(forth @ back, np.eye(12), atol=1e-8)
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    shift = np.sum((first.mean - second.mean) ** 2)
    assert shift + traces - 2 * transport.cross == pytest.approx(distance_of(first, second), rel=1e-10)


def both_ways(sides: Sides, captions: int, n_replicates: int = 400) -> tuple[float, np.ndarray, np.ndarray]:
    """Estimate, linearised and refitted replicates of clusters: a reference with its captions."""
    clusters = [f"r{clip // captions}" for clip in range(sides[1].n_clips)]
    counts = draw_counts(clusters, n_replicates, seed=0).astype(float)
    fits = sides[0].gaussian(), sides[1].gaussian()
    drawn = {"target_counts": counts[:, ::captions], "generated_counts": counts}
    estimate = distance_of(*fits)
    linear = linearised_replicates(estimate, target=sides[0], generated=sides[1], fits=fits, **drawn)
    moments = [ClipMoments(side.windows - fits[0].mean, side.clip, side.n_clips) for side in sides]
    return estimate, linear, frechet_replicates(target=moments[0], generated=moments[1], **drawn)


@pytest.mark.parametrize("captions", [1, 3])
def test_intervals_are_those_of_refitted_draws(captions: int) -> None:
    estimate, linear, refitted = both_ways(two_sides(64, 300 // captions, captions, 5), captions)
    sizes = {"n_clips": 300, "n_clusters": 300 // captions}
    both = [Difference.of_replicates(estimate, replicates, **sizes) for replicates in (refitted, linear)]
    expected, found = ((interval.low, interval.high) for interval in both)
    half_width = (expected[1] - expected[0]) / 2
    # First order against all orders, same draws: 12 such sets had ends within 0.12 of the half-width.
    np.testing.assert_allclose(found, expected, atol=0.15 * half_width)
    assert np.corrcoef(linear, refitted)[0, 1] > 0.9


def test_more_clips_bring_the_two_closer() -> None:
    gaps = []
    for n_references in (50, 1600):
        _, linear, refitted = both_ways(two_sides(16, n_references, 1, 2), 1, n_replicates=200)
        gaps.append(np.std(linear - refitted) / np.std(refitted))
    # The second order is one over the root of the number of clips smaller: 5.7 times for 32 times the clips.
    assert gaps[1] < gaps[0] / 3


def test_a_mean_is_exact_and_a_draws_size_alone_moves_nothing() -> None:
    values, n_windows = np.array([1.0, -2.0, 4.0]), np.array([1.0, 2.0, 3.0])
    counts = np.array([[2.0, 1.0, 0.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    mean = values @ n_windows / 6
    influence = n_windows * (values - mean) / 6
    shifts = Drawn(influence, n_windows, counts).shifts()
    np.testing.assert_allclose(shifts[:2], [(2 * 1.0 + 2 * -2.0) / 4 - mean, 0.0], atol=1e-15)
    assert np.isnan(shifts[2])


def test_rank_deficient_sets_have_finite_replicates() -> None:
    sides = two_sides(100, 12, 1, 3, dtype=np.float32)
    estimate, linear, refitted = both_ways(sides, 1, n_replicates=50)
    assert np.isfinite(linear).all()
    assert np.isfinite(refitted).all()
    assert estimate == pytest.approx(frechet_distance(target=sides[0].windows, generated=sides[1].windows))
    # A dimension that never moves has no eigenvalue at all.
    still = [WindowSet(np.hstack([side.windows, np.ones((len(side), 1))]), side.clip, side.n_clips) for side in sides]
    np.testing.assert_allclose(both_ways((still[0], still[1]), 1, n_replicates=50)[1], linear, rtol=1e-6)


def test_a_fixed_reference_is_not_drawn() -> None:
    sides = two_sides(8, 20, 1, 4)
    counts = draw_counts([str(clip) for clip in range(20)], 50, seed=0).astype(float)
    fits = sides[0].gaussian(), sides[1].gaussian()
    none = np.zeros((50, 0))
    linear = linearised_replicates(
        1.0, target=fits[0], generated=sides[1], target_counts=none, generated_counts=counts, fits=fits
    )
    influence = side_influences(sides)[1]
    # Every clip has four windows, so that all draws are of one size.
    np.testing.assert_allclose(linear, 1.0 + (counts - 1) @ influence, rtol=1e-12)
    refitted = frechet_replicates(
        target=fits[0], generated=ClipMoments(sides[1].windows, sides[1].clip, 20), target_counts=none,
        generated_counts=counts,
    )  # fmt: skip
    weighted = [weighted_distance(sides, (np.ones(20), count)) for count in counts[:3]]
    np.testing.assert_allclose(refitted[:3], weighted, rtol=1e-9)
