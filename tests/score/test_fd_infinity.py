"""The extrapolated Fréchet distance: straight lines exactly, and sets drawn from known Gaussians without their bias."""

import numpy as np
import pytest

from audioptq.score.frechet.bootstrap_exact import ClipMoments, frechet_replicates
from audioptq.score.frechet.fd_infinity import clips_for_windows, fd_infinity, has_enough_windows


def test_a_straight_line_is_continued():
    found = fd_infinity(lambda counts: 3.0 + 50 / counts.sum(axis=1), n_clips=40, seed=0)
    assert found.value == pytest.approx(3.0)
    assert found.bias == pytest.approx(50 / 40)
    assert found.r2 == pytest.approx(1.0)


def test_subsets_are_whole_clips_once_each_and_those_of_the_seed():
    asked = []

    def distances(counts):
        asked.append(counts)
        return np.ones(len(counts))

    assert fd_infinity(distances, 40, seed=0).bias == pytest.approx(0)
    fd_infinity(distances, 40, seed=0)
    fd_infinity(distances, 40, seed=1)
    first, again, other = asked
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert set(np.unique(first)) == {0, 1}
    assert first[-1].all()
    assert first.sum(axis=1).min() == 20


@pytest.mark.parametrize("n_clips", [1, 2, 3])
def test_of_few_clips_there_is_none(n_clips):
    assert fd_infinity(lambda counts: np.ones(len(counts)), n_clips, seed=0) is None


def test_where_a_subset_has_no_distance_there_is_none():
    assert fd_infinity(lambda counts: np.full(len(counts), np.nan), 40, seed=0) is None


def clips(n_clips: int, dim: int, shift: float, rng: np.random.Generator) -> ClipMoments:
    """Windows of seven to a clip, which share most of what they are."""
    own, within = rng.standard_normal((n_clips, 1, dim)), rng.standard_normal((n_clips, 7, dim))
    windows = (np.sqrt(0.7) * own + np.sqrt(0.3) * within + shift).reshape(-1, dim)
    return ClipMoments(windows, np.repeat(np.arange(n_clips), 7), n_clips)


@pytest.mark.parametrize(("shift", "true"), [(0.0, 0.0), (0.5, 4.0)])
def test_sets_of_one_truth_have_no_distance(shift, true):
    """Sixteen dimensions, 100 clips on either side: the plain distance lies far above the truth, the extrapolated one about it."""
    plain, extrapolated = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        target, generated = clips(100, 16, 0.0, rng), clips(100, 16, shift, rng)

        def distances(counts, target=target, generated=generated):
            return frechet_replicates(target=target, generated=generated, target_counts=counts, generated_counts=counts)

        found = fd_infinity(distances, 100, seed)
        plain.append(found.value + found.bias)
        extrapolated.append(found.value)
    error = np.std(extrapolated) / np.sqrt(len(extrapolated))
    assert np.mean(plain) - true > 0.5
    # A tenth of the bias may be left: the line is straight only for n far beyond the dimensions.
    assert abs(np.mean(extrapolated) - true) < 3 * error + 0.1 * (np.mean(plain) - true)


def test_with_replacement_it_would_lead_to_the_distance_at_hand():
    """Why subsets are drawn without: fadtk's own draws of the same clips keep the bias of the whole set."""
    left = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        target, generated = clips(100, 16, 0.0, rng), clips(100, 16, 0.0, rng)
        sizes = np.repeat(np.arange(50, 101, 5), 4)
        counts = np.array([rng.multinomial(size, np.full(100, 0.01)) for size in sizes]).astype(float)
        found = frechet_replicates(target=target, generated=generated, target_counts=counts, generated_counts=counts)
        whole = np.ones((1, 100))
        plain = frechet_replicates(target=target, generated=generated, target_counts=whole, generated_counts=whole)
        left.append(np.polyfit(1 / sizes, found, 1)[1] / plain[0])
    assert np.mean(left) > 0.5


def test_windows_must_be_twice_the_dimensions():
    assert has_enough_windows(128, 64)
    assert not has_enough_windows(127, 64)
    assert clips_for_windows(40, 320, 1024) == 256
    assert clips_for_windows(6, 42, 64) == 19
