import time

import numpy as np
import pytest
from scipy.linalg import sqrtm

from audioptq.score.bootstrap import draw_counts
from audioptq.score.frechet import bootstrap_exact as refit
from audioptq.score.frechet import windows
from audioptq.score.frechet.bootstrap_exact import ClipMoments, frechet_replicates, gaussian_distance, is_cheap
from audioptq.score.frechet.frechet import frechet_distance


def textbook_distance(target: np.ndarray, generated: np.ndarray) -> float:
    """The form of stable-audio-metrics and fadtk: tr (C1 C2)^1/2 by scipy's general matrix root."""
    difference = target.mean(axis=0) - generated.mean(axis=0)
    covs = np.cov(target, rowvar=False), np.cov(generated, rowvar=False)
    root = np.real(sqrtm(covs[0] @ covs[1]))
    return float(difference @ difference + np.trace(covs[0]) + np.trace(covs[1]) - 2 * np.trace(root))


def two_sets(dim: int = 12, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((2, dim, dim))
    return rng.standard_normal((n, dim)) @ mix[0], rng.standard_normal((n + 31, dim)) @ mix[1] + 0.5


def test_equals_the_matrix_root_form() -> None:
    target, generated = two_sets()
    assert frechet_distance(target=target, generated=generated) == pytest.approx(
        textbook_distance(target, generated), rel=1e-9
    )


def test_diagonal_gaussians_have_a_closed_form() -> None:
    mean1, mean2 = np.array([[1.0, 0.0, -2.0]]), np.array([[0.0, 0.0, 1.0]])
    deviation1, deviation2 = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 4.0])
    value = gaussian_distance(mean1, np.diag(deviation1**2)[None], mean2, np.diag(deviation2**2)[None])
    # |m1 - m2|^2 + sum (s1 - s2)^2, with one zero variance to make the root singular.
    assert value[0] == pytest.approx(10.0 + 4.0 + 2.25 + 16.0, abs=1e-12)


def test_identity_symmetry_and_translation() -> None:
    target, generated = two_sets()
    distance = frechet_distance(target=target, generated=generated)
    # Zero up to rounding of eigenvalues whose sum is the trace.
    assert frechet_distance(target=target, generated=target) == pytest.approx(0, abs=1e-9 * np.var(target) * 12)
    assert frechet_distance(target=generated, generated=target) == pytest.approx(distance, rel=1e-10)
    assert frechet_distance(target=target + 100, generated=generated + 100) == pytest.approx(distance, rel=1e-9)
    shift = np.linspace(0, 1, 12)
    assert frechet_distance(target=target, generated=target + shift) == pytest.approx(shift @ shift, rel=1e-8)


def test_fewer_windows_than_dimensions_is_fine() -> None:
    rng = np.random.default_rng(3)
    target, generated = rng.standard_normal((5, 40)), rng.standard_normal((6, 40))
    value = frechet_distance(target=target, generated=generated)
    # The trace term is the nuclear norm of A B^T for square roots C1 = A^T A, C2 = B^T B: a third way to compute it.
    roots = [(x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (target, generated)]
    nuclear = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    difference = target.mean(axis=0) - generated.mean(axis=0)
    expected = difference @ difference + sum((root**2).sum() for root in roots) - 2 * nuclear
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("n_windows", [3000, 700], ids=["full rank", "fewer windows than dimensions"])
def test_openl3s_dimension(n_windows: int) -> None:
    rng = np.random.default_rng(4)
    scale = np.arange(1, 1025) ** -0.5
    target = (rng.standard_normal((n_windows, 1024)) * scale).astype(np.float32)
    generated = (1.2 * rng.standard_normal((n_windows + 100, 1024)) * scale + 0.1).astype(np.float32)
    value = frechet_distance(target=target, generated=generated)
    assert np.isfinite(value)
    if n_windows > 1024:  # the bar of the issue; on singular products sqrtm itself is off by more
        assert value == pytest.approx(textbook_distance(target.astype(float), generated.astype(float)), rel=1e-6)
    else:
        assert value > 0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    target, generated = two_sets()
    whole = frechet_distance(target=target, generated=generated)
    monkeypatch.setattr(windows, "BLOCK", 7)
    # Other sums in float64: some units of the last place, times the condition of the root.
    assert frechet_distance(target=target, generated=generated) == pytest.approx(whole, rel=1e-11)


def test_one_block_has_the_bits_of_numpys_covariance() -> None:
    # mini's published numbers were made with np.cov.
    array = two_sets()[0].astype(np.float32)
    fit = windows.WindowSet.whole(array).gaussian()
    np.testing.assert_array_equal(fit.mean, array.astype(np.float64).mean(axis=0))
    np.testing.assert_array_equal(fit.covariance, np.cov(array.astype(np.float64), rowvar=False))


def test_mini_is_refitted_and_openl3_is_not() -> None:
    assert is_cheap(n_clips=40 + 40, dim=64, n_replicates=400)
    assert is_cheap(n_clips=4875 + 881, dim=64, n_replicates=1000)
    assert not is_cheap(n_clips=4875 + 881, dim=128, n_replicates=400)
    assert not is_cheap(n_clips=20, dim=1024, n_replicates=100)


@pytest.mark.parametrize(
    "generated",
    [np.zeros((1, 3)), np.zeros((0, 3)), np.zeros(3), np.zeros((4, 2)), np.full((4, 3), np.inf)],
    ids=["one window", "none", "one-dimensional", "other dimension", "infinite"],
)
def test_bad_input_raises(generated: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"2 windows or more|dimension|not finite"):
        frechet_distance(target=np.eye(3), generated=generated)


def clips_of_windows(seed: int, n_clips: int, per_clip: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(n_clips), per_clip)
    return rng.standard_normal((n_clips, dim))[rows] + 0.3 * rng.standard_normal((len(rows), dim)), rows


def test_replicates_equal_distances_of_repeated_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refit, "REPLICATES_AT_ONCE", 2)
    target, rows = clips_of_windows(0, 6, 4, 3)
    generated = target[::-1] * 1.5 + 0.2
    counts = draw_counts([str(clip) for clip in range(6)], 5, seed=1).astype(float)
    shuffled = np.random.default_rng(5).permutation(len(rows))
    replicates = frechet_replicates(
        target=ClipMoments(target[shuffled], rows[shuffled], 6),
        generated=ClipMoments(generated, rows, 6),
        target_counts=counts,
        generated_counts=counts,
    )
    for replicate, count in zip(replicates, counts, strict=True):
        repeated = np.repeat(np.arange(24), count[rows].astype(int))
        expected = frechet_distance(target=target[repeated], generated=generated[repeated])
        assert replicate == pytest.approx(expected, rel=1e-8)


def test_a_draw_without_windows_has_no_distance() -> None:
    moments = ClipMoments(np.eye(3), np.array([0, 0, 0]), 2)
    counts = np.array([[2.0, 0.0], [0.0, 2.0]])
    replicates = frechet_replicates(target=moments, generated=moments, target_counts=counts, generated_counts=counts)
    assert replicates[0] == pytest.approx(0, abs=1e-12)
    assert np.isnan(replicates[1])


def test_two_hundred_replicates_are_quick() -> None:
    array, rows = clips_of_windows(0, 64, 12, 64)
    counts = draw_counts([str(clip) for clip in range(64)], 200, seed=0).astype(float)
    moments = ClipMoments(array, rows, 64)
    started = time.process_time()
    frechet_replicates(target=moments, generated=moments, target_counts=counts, generated_counts=counts)
    # 0.3 s on one slow core; processor time, so that a busy machine does not fail it.
    assert time.process_time() - started < 3
