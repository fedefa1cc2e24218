from itertools import pairwise

import numpy as np
import pytest

from audioptq.score.dtw import align


def plain_dtw(target: np.ndarray, generated: np.ndarray, radius: int) -> tuple[float, int]:
    """The recurrence cell by cell, as written in the docstring."""
    n = len(target)
    table = {(-1, -1): (0.0, 0)}
    for i in range(n):
        for j in range(max(0, i - radius), min(n, i + radius + 1)):
            before = [table.get(cell, (np.inf, 0)) for cell in ((i - 1, j - 1), (i, j - 1), (i - 1, j))]
            cost, steps = min(before, key=lambda entry: entry[0])
            table[i, j] = (cost + float(np.sqrt(((target[i] - generated[j]) ** 2).sum())), steps + 1)
    return table[n - 1, n - 1]


@pytest.mark.parametrize("radius", [0, 1, 3, 40])
@pytest.mark.parametrize("n", [1, 2, 17])
def test_equals_the_recurrence(n: int, radius: int) -> None:
    target, generated = np.random.default_rng([n, radius]).standard_normal((2, n, 3))
    path = align(target=target, generated=generated, radius=radius)
    cost, steps = plain_dtw(target, generated, radius)
    assert path.cost == pytest.approx(cost, rel=1e-12)
    assert path.n_steps == steps


def test_ties_are_broken_as_in_the_recurrence() -> None:
    # Small integers make many paths equal; the number of steps then depends on the rule alone.
    for seed in range(20):
        target, generated = np.random.default_rng(seed).integers(0, 2, size=(2, 12, 1)).astype(float)
        path = align(target=target, generated=generated, radius=4)
        assert (path.cost, path.n_steps) == plain_dtw(target, generated, 4)


@pytest.mark.slow
def test_equals_librosa() -> None:
    sequence = pytest.importorskip("librosa.sequence")
    target, generated = np.random.default_rng(0).standard_normal((2, 60, 5)).cumsum(axis=1)
    # librosa takes the radius as a share of the number of frames and truncates it.
    table, steps = sequence.dtw(target.T, generated.T, global_constraints=True, band_rad=7.5 / 60)
    path = align(target=target, generated=generated, radius=7)
    assert path.cost == pytest.approx(table[-1, -1], rel=1e-12)
    assert path.n_steps == len(steps)


def test_identity_is_the_diagonal_and_radius_zero_is_no_warping() -> None:
    target, generated = np.random.default_rng(1).standard_normal((2, 30, 4))
    same = align(target=target, generated=target, radius=10)
    assert (same.cost, same.n_steps, same.penalty) == (0.0, 30, 0.0)
    straight = align(target=target, generated=generated, radius=0)
    assert straight.cost == pytest.approx(np.linalg.norm(target - generated, axis=1).sum())
    assert straight.n_steps == 30


def test_a_wider_band_never_costs_more() -> None:
    target, generated = np.random.default_rng(2).standard_normal((2, 40, 2))
    costs = [align(target=target, generated=generated, radius=radius).cost for radius in range(0, 41, 4)]
    assert all(wide <= narrow for narrow, wide in pairwise(costs))


def test_bad_input_raises() -> None:
    with pytest.raises(ValueError, match="frames, dim"):
        align(target=np.zeros((3, 2)), generated=np.zeros((4, 2)), radius=1)
    with pytest.raises(ValueError, match="frames, dim"):
        align(target=np.zeros((0, 2)), generated=np.zeros((0, 2)), radius=1)
