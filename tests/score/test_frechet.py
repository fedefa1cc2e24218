import time

import numpy as np
import pytest
from scipy.linalg import sqrtm

from audioptq.score import frechet
from audioptq.score.frechet import ClipMoments, frechet_distance, frechet_replicates, gaussian_distance
from audioptq.score.resample import resample_counts


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


@pytest.mark.parametrize("max_sums_bytes", [2**28, 0], ids=["sums per clip", "weights per replicate"])
def test_replicates_equal_distances_of_repeated_windows(monkeypatch: pytest.MonkeyPatch, max_sums_bytes: int) -> None:
    monkeypatch.setattr(frechet, "MAX_SUMS_BYTES", max_sums_bytes)
    monkeypatch.setattr(frechet, "REPLICATES_AT_ONCE", 2)
    target, rows = clips_of_windows(0, 6, 4, 3)
    generated = target[::-1] * 1.5 + 0.2
    counts = resample_counts([str(clip) for clip in range(6)], 5, seed=1).astype(float)
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
    windows, rows = clips_of_windows(0, 64, 12, 64)
    counts = resample_counts([str(clip) for clip in range(64)], 200, seed=0).astype(float)
    moments = ClipMoments(windows, rows, 64)
    started = time.process_time()
    frechet_replicates(target=moments, generated=moments, target_counts=counts, generated_counts=counts)
    # 0.3 s on one slow core; processor time, so that a busy machine does not fail it.
    assert time.process_time() - started < 3
