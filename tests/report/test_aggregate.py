import numpy as np
import pandas as pd
import pytest

from audioptq.errors import UserError
from audioptq.report.measure.aggregate import Estimate, Plan, estimate_metric
from audioptq.report.measure.compare import BETTER, UNCLEAR, WITHIN, WORSE, Comparison, distance_verdict, verdict
from audioptq.report.measure.inputs import read_manifests, read_scores
from audioptq.report.measure.results import WHOLE_SET, excluded_clips
from audioptq.score.table import METRICS, set_table

CLIPS = ["a", "b", "c", "d"]


def make_plan(references=("r1", "r1", "r2", "r3"), n_replicates=400):
    return Plan(pd.DataFrame({"clip_id": CLIPS, "reference_id": references}), n_replicates, seed=0)


def rows_of(frame, recipe, metric):
    return frame[(frame["recipe"] == recipe) & (frame["metric"] == metric)]


def test_mean_is_the_mean_and_lies_inside_its_interval(scores):
    scores.clips("fp32", 0, "clap_mini", dict(zip(CLIPS, [0.1, 0.2, 0.6, 0.3], strict=True)))
    frame, _ = read_scores(scores.paths)
    estimate = estimate_metric(rows_of(frame, "fp32", "clap_mini"), make_plan())
    assert estimate.value == pytest.approx(0.3)
    assert 0.1 <= estimate.low < estimate.value < estimate.high <= 0.6
    assert estimate.n == 4


def test_interval_by_hand_on_two_clusters():
    # Two references, values 0 and 1: a replicate's mean is 0, 1/2 or 1 with probabilities 1/4, 1/2, 1/4, so that the
    # 2.5 % and 97.5 % points are 0 and 1, and those of a 40 % interval are both 1/2.
    prompts = pd.DataFrame({"clip_id": ["a", "b"], "reference_id": ["r", "s"]})
    wide, narrow = (
        Plan(prompts, 2000, seed=1, level=level).mean(np.array([0.0, 1.0]), ["a", "b"]) for level in (0.95, 0.4)
    )
    assert (wide.low, wide.value, wide.high) == (0.0, 0.5, 1.0)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_captions_of_one_reference_are_drawn_together():
    counts = make_plan().counts(["b", "a", "c"])
    assert (counts[:, 0] == counts[:, 1]).all()
    assert not (counts[:, 0] == counts[:, 2]).all()


def test_one_reference_for_all_leaves_no_spread():
    estimate = make_plan(references=("r",) * 4).mean(np.array([0.0, 1.0, 2.0, 3.0]), CLIPS)
    assert (estimate.low, estimate.high) == (1.5, 1.5)


def test_clips_without_value_are_not_averaged(scores):
    scores.clips("fp32", 0, "clap_mini", {"a": 0.2, "b": None, "c": 0.4, "d": None})
    frame, _ = read_scores(scores.paths)
    estimate = estimate_metric(rows_of(frame, "fp32", "clap_mini"), make_plan())
    assert estimate.value == pytest.approx(0.3)
    assert estimate.n == 2


def test_metric_without_any_value_has_no_estimate(scores):
    scores.clips("fp32", 0, "clap_mini", dict.fromkeys(CLIPS))
    scores.write(
        "fp32", 0, "fd_mini", set_table("fd_mini", estimate=np.nan, replicates=[], notes={}, absent="no references")
    )
    frame, _ = read_scores(scores.paths)
    assert estimate_metric(rows_of(frame, "fp32", "clap_mini"), make_plan()) is None
    assert estimate_metric(rows_of(frame, "fp32", "fd_mini"), make_plan()) is None


def test_seeds_are_pooled(scores):
    scores.clips("fp32", 0, "clap_mini", dict.fromkeys(CLIPS, 0.2))
    scores.clips("fp32", 5, "clap_mini", dict.fromkeys(CLIPS, 0.4))
    scores.whole("fp32", 0, "fd_mini", 2.0, [1.0, 3.0])
    scores.whole("fp32", 5, "fd_mini", 4.0, [3.0, 5.0])
    frame, _ = read_scores(scores.paths)
    assert estimate_metric(rows_of(frame, "fp32", "clap_mini"), make_plan()).value == pytest.approx(0.3)
    pooled = estimate_metric(rows_of(frame, "fp32", "fd_mini"), make_plan())
    # Replicates 2 and 4 have mean 3: the interval is the estimate 3 plus the 2.5 % and 97.5 % points of -1 and 1.
    assert (pooled.value, pooled.low, pooled.high) == pytest.approx((3.0, 2.05, 3.95))


def test_left_out_clips_do_not_turn_a_set_metric_into_a_per_clip_one(scores):
    frame = set_table("fd_mini", estimate=2.0, replicates=[1.9, 2.1], notes={"b": "silent"})
    scores.write("fp32", 0, "fd_mini", frame)
    read, _ = read_scores(scores.paths)
    assert estimate_metric(read, make_plan()).value == 2.0
    named = excluded_clips(read, read_manifests({}))
    assert named[["clip_id", "reason", "metrics"]].values.tolist() == [["b", "silent", "fd_mini"]]


def test_a_set_without_a_value_is_named(scores):
    scores.write(
        "w8", 0, "fd_mini", set_table("fd_mini", estimate=np.nan, replicates=[np.nan], notes={}, absent="too few")
    )
    read, _ = read_scores(scores.paths)
    named = excluded_clips(read, read_manifests({}))
    assert named[["recipe", "clip_id", "reason"]].values.tolist() == [["w8", WHOLE_SET, "too few"]]


def test_unknown_clip_is_a_users_mistake():
    with pytest.raises(UserError, match=r"'zebra'.*delete the score files"):
        make_plan().counts(["a", "zebra"])


def compare(scores, noise_floor_seed=None, plan=None):
    frame, metrics = read_scores(scores.paths)
    comparison = Comparison(frame, metrics, "fp32", noise_floor_seed, plan or make_plan())
    return comparison, comparison.frame(["fp32", "w8"])


def test_paired_difference_is_exact_and_uses_common_clips_only(scores):
    scores.clips("fp32", 0, "clap_mini", {"a": 0.1, "b": 0.9, "c": 0.3, "d": 0.5})
    scores.clips("w8", 0, "clap_mini", {"a": 0.0, "b": None, "c": 0.2, "d": 0.4})
    row = compare(scores)[1].iloc[0]
    # Each common clip lost exactly 0.1, so that every replicate's difference is -0.1 and the interval has no width.
    assert (row.difference, row.low, row.high) == pytest.approx((-0.1, -0.1, -0.1), abs=1e-12)
    assert row.n_pairs == 3


def test_seeds_are_paired_with_their_own(scores):
    scores.clips("fp32", 0, "clap_mini", dict.fromkeys(CLIPS, 0.1))
    scores.clips("fp32", 5, "clap_mini", dict.fromkeys(CLIPS, 0.9))
    scores.clips("w8", 5, "clap_mini", dict.fromkeys(CLIPS, 0.8))
    assert compare(scores)[1].iloc[0].difference == pytest.approx(-0.1)


def test_set_metric_is_compared_replicate_by_replicate(scores):
    draws = np.random.default_rng(0).normal(5.0, 2.0, 200)
    scores.whole("fp32", 0, "fd_mini", 5.0, list(draws))
    scores.whole("w8", 0, "fd_mini", 5.5, list(draws + 0.5))
    row = compare(scores)[1].iloc[0]
    # The draws spread by +-4, their differences not at all: pairing is what makes half a unit visible.
    assert (row.difference, row.low, row.high) == pytest.approx((0.5, 0.5, 0.5))
    assert row.verdict == WORSE


def test_noise_floor_is_the_other_seeds_difference_and_enters_no_row(scores):
    scores.clips("fp32", 0, "clap_mini", dict.fromkeys(CLIPS, 0.5))
    scores.clips("fp32", 9, "clap_mini", dict.fromkeys(CLIPS, 0.47))
    scores.clips("w8", 0, "clap_mini", dict.fromkeys(CLIPS, 0.48))
    comparison, frame = compare(scores, noise_floor_seed=9)
    assert comparison.floors["clap_mini"].value == pytest.approx(-0.03)
    assert frame["recipe"].tolist() == ["w8"]
    assert frame.iloc[0].noise_floor == pytest.approx(-0.03)
    assert frame.iloc[0].verdict == WITHIN


def test_distances_are_compared_with_the_other_seeds_distance(scores):
    scores.clips("fp32", 9, "mcd_db", dict.fromkeys(CLIPS, 6.0))
    scores.clips("w8", 0, "mcd_db", dict.fromkeys(CLIPS, 2.0))
    comparison, frame = compare(scores, noise_floor_seed=9)
    assert comparison.floors["mcd_db"].value == 6.0
    assert frame[["recipe", "difference", "noise_floor", "verdict"]].values.tolist() == [["w8", 2.0, 6.0, WITHIN]]


def test_a_distance_of_whole_sets_has_its_own_interval_and_the_other_seeds_distance(scores):
    draws = np.linspace(-0.5, 0.5, 200)
    scores.whole("fp32", 9, "fd_mini_fp32", 6.0, list(7 + draws))
    scores.whole("fp32", 0, "fd_mini_fp32", 0.0, [0.0] * 200)
    scores.whole("w8", 0, "fd_mini_fp32", 0.3, list(0.5 + draws))
    comparison, frame = compare(scores, noise_floor_seed=9)
    assert comparison.floors["fd_mini_fp32"].value == 6.0
    row = frame.iloc[0]
    assert (row.recipe, row.difference, row.low, row.verdict, row.n_pairs) == ("w8", 0.3, 0.0, WITHIN, 0)
    assert row.high == pytest.approx(0.3 + 0.475, abs=1e-9)  # the draws' spread, their shift removed


def test_recipe_that_shares_no_clip_has_no_comparison(scores):
    scores.clips("fp32", 0, "clap_mini", {"a": 0.1, "b": None})
    scores.clips("w8", 0, "clap_mini", {"a": None, "b": 0.1})
    assert compare(scores)[1].empty


FLOOR = Estimate(0.002, -0.01, 0.012)


@pytest.mark.parametrize(
    ("difference", "higher_is_better", "expected"),
    [
        (Estimate(-0.05, -0.06, -0.04), True, WORSE),
        (Estimate(-0.05, -0.06, -0.04), False, BETTER),
        (Estimate(0.05, 0.04, 0.06), True, BETTER),
        (Estimate(-0.004, -0.006, -0.002), True, WITHIN),
        (Estimate(-0.004, -0.05, 0.04), True, UNCLEAR),
        (Estimate(0.011, 0.008, 0.02), True, UNCLEAR),
        (Estimate(0.05, float("nan"), float("nan")), True, UNCLEAR),
    ],
)
def test_verdict(difference, higher_is_better, expected):
    assert verdict(difference, FLOOR, higher_is_better) == expected


def test_verdict_without_noise_floor_rests_on_the_interval():
    assert verdict(Estimate(-0.1, -0.2, -0.05), None, True) == WORSE
    assert verdict(Estimate(0.0, -0.2, 0.2), None, True) == UNCLEAR


def test_distance_verdict():
    floor = Estimate(6.0, 5.0, 7.0)
    assert distance_verdict(Estimate(2.0, 1.0, 3.0), floor) == WITHIN
    assert distance_verdict(Estimate(9.0, 8.0, 10.0), floor) == WORSE
    assert distance_verdict(Estimate(7.0, 6.5, 7.5), floor) == UNCLEAR
    assert distance_verdict(Estimate(2.0, 1.0, 3.0), None) == UNCLEAR


def test_two_files_of_one_metric_are_refused(scores):
    path = scores.clips("fp32", 0, "clap_mini", {"a": 0.1})
    copy = path.with_name("copy.parquet")
    copy.write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="Give only one of them"):
        read_scores([path, copy])


def test_metrics_keep_the_registrys_order(scores):
    for metric in ("lsd_db", "clap_mini", "mcd_db"):
        scores.clips("w8", 0, metric, {"a": 1.0})
    assert list(read_scores(scores.paths)[1]) == [
        metric for metric in METRICS if metric in {"lsd_db", "clap_mini", "mcd_db"}
    ]


def test_no_scores_is_a_users_mistake():
    with pytest.raises(UserError, match="no score files"):
        read_scores([])
