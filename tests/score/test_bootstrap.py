import numpy as np
import pandas as pd
import pytest

from audioptq.score.bootstrap import cluster_ids, draw_counts
from audioptq.score.verdict import Difference

CLUSTERS = ["r1", "r0", "r1", "r2", "r0", "r3", "r3", "r3"]


def mean_interval(values, counts, clusters=None, level: float = 0.95) -> tuple[float, float]:
    found = Difference.of_clips(values, clusters or [str(index) for index in range(len(values))], counts, level)
    return found.low, found.high


def test_clusters_stay_together_and_as_many_are_drawn_as_there_are() -> None:
    counts = draw_counts(CLUSTERS, 500, seed=0)
    names = np.array(CLUSTERS)
    for name in set(CLUSTERS):
        columns = counts[:, names == name]
        assert (columns == columns[:, :1]).all()
    first = [CLUSTERS.index(name) for name in sorted(set(CLUSTERS))]
    assert (counts[:, first].sum(axis=1) == 4).all()
    # Each cluster once per replicate on average; 500 replicates leave a standard error of 0.04.
    np.testing.assert_allclose(counts[:, first].mean(axis=0), 1, atol=0.15)


def test_plan_does_not_depend_on_row_order_and_does_on_the_seed() -> None:
    order = np.random.default_rng(0).permutation(len(CLUSTERS))
    counts = draw_counts(CLUSTERS, 50, seed=3)
    shuffled = draw_counts([CLUSTERS[index] for index in order], 50, seed=3)
    np.testing.assert_array_equal(counts[:, order], shuffled)
    assert (draw_counts(CLUSTERS, 50, seed=4) != counts).any()
    np.testing.assert_array_equal(draw_counts(CLUSTERS, 50, seed=3), counts)


def test_clusters_are_references_and_clips_without_one_stand_alone() -> None:
    prompts = pd.DataFrame({"clip_id": ["x", "y", "z", "w"], "reference_id": ["y", "y", None, float("nan")]})
    clusters = cluster_ids(prompts)
    assert clusters[0] == clusters[1]
    assert len(set(clusters)) == 3


def test_interval_covers_the_true_mean_when_captions_share_references() -> None:
    rng = np.random.default_rng(0)
    clusters = [f"r{index // 4}" for index in range(100)]
    counts = draw_counts(clusters, 300, seed=0)
    alone = draw_counts([str(index) for index in range(100)], 300, seed=0)
    covered = {"clusters": 0, "clips": 0}
    for _ in range(300):
        values = np.repeat(rng.standard_normal(25), 4) + 0.3 * rng.standard_normal(100)
        for name, plan in (("clusters", counts), ("clips", alone)):
            low, high = mean_interval(values, plan, clusters if name == "clusters" else None)
            covered[name] += low <= 0 <= high
    # 95 % nominal; a percentile interval over 25 clusters reaches about 92 %. Pretending independence halves its width.
    assert 0.88 < covered["clusters"] / 300 < 0.98
    assert covered["clips"] / 300 < 0.8


def test_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).standard_normal(400)
    low, high = mean_interval(values, draw_counts([str(i) for i in range(400)], 4000, seed=0))
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.08)
    assert low < values.mean() < high
    narrow = mean_interval(values, draw_counts([str(i) for i in range(400)], 4000, seed=0), level=0.5)
    assert narrow[1] - narrow[0] < 0.5 * (high - low)


def test_replicates_that_drew_no_clip_are_left_out() -> None:
    counts = np.array([[0] * 6, [3, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]])
    low, high = mean_interval([2.0, 6.0, 4.0, 4.0, 4.0, 4.0], counts, level=0.999999)
    widened = np.sqrt(6 / 5)  # about the mean, which is 4; the two draws' means are 3 and 4
    assert (low, high) == pytest.approx((4 - widened, 4.0), abs=1e-5)
    assert np.isnan(mean_interval([2.0] * 6, np.zeros((3, 6), dtype=np.int64))).all()


def test_pairing_sees_what_two_intervals_hide() -> None:
    rng = np.random.default_rng(2)
    counts = draw_counts([str(index) for index in range(60)], 500, seed=0)
    target = 5 * rng.standard_normal(60)
    generated = target + 0.5 + 0.1 * rng.standard_normal(60)
    low, high = mean_interval(generated - target, counts)
    assert 0 < low < 0.5 < high
    assert mean_interval(target, counts)[1] > mean_interval(generated, counts)[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_counts([], 10, seed=0), "at least one item"),
        (lambda: draw_counts(["a"], 0, seed=0), "one replicate"),
        (lambda: mean_interval([1.0], np.ones((5, 1), dtype=np.int64), level=95), "between 0 and 1"),
    ],
)
def test_bad_input_raises(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
