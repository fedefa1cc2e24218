import numpy as np
import pandas as pd
import pytest

from audioptq.errors import UserError
from audioptq.report.measure.aggregate import Plan, estimate_metric
from audioptq.report.measure.compare import NO_VERDICT, Comparison, judged
from audioptq.report.measure.inputs import read_manifests, read_scores
from audioptq.report.measure.results import WHOLE_SET, excluded_clips
from audioptq.score.table import METRICS, set_table
from audioptq.score.verdict import DIFFERENT, EQUIVALENT, NOT_ENOUGH, WORSE

CLIPS = list("abcdefgh")


def make_plan(references=("r1", "r1", "r2", "r3", "r4", "r5", "r6", "r7"), n_replicates=400):
    return Plan(pd.DataFrame({"clip_id": CLIPS, "reference_id": references}), n_replicates, seed=0)


def rows_of(frame, recipe, metric):
    return frame[(frame["recipe"] == recipe) & (frame["metric"] == metric)]


def test_mean_is_the_mean_and_lies_inside_its_interval(scores):
    scores.clips("fp32", 0, "clap_mini", dict(zip(CLIPS, [0.1, 0.2, 0.6, 0.3] * 2, strict=True)))
    frame, *_ = read_scores(scores.paths)
    estimate = estimate_metric(rows_of(frame, "fp32", "clap_mini"), make_plan())
    assert estimate.value == pytest.approx(0.3)
    assert 0.1 <= estimate.low < estimate.value < estimate.high <= 0.6
    assert estimate.n == 8


def test_interval_by_hand_on_eight_clusters():
    # One clip of eight has the value 1: a replicate's mean is k / 8 with k binomial of 8 and 1/8. Its 2.5 % and 97.5 % points are 0
    # and 3, and both those of a 20 % interval are 1 (P(0) = 0.34, P(0 or 1) = 0.74). All widened by sqrt(8 / 7) about the mean.
    plan_of = {
        level: Plan(pd.DataFrame({"clip_id": CLIPS, "reference_id": CLIPS}), 4000, seed=1, level=level)
        for level in (0.95, 0.2)
    }
    wide, narrow = (plan_of[level].mean(np.array([1.0] + [0.0] * 7), CLIPS) for level in (0.95, 0.2))
    widened = np.sqrt(8 / 7)
    assert (wide.low, wide.high) == pytest.approx((1 / 8 - widened / 8, 1 / 8 + widened * 2 / 8))
    assert (narrow.low, narrow.high) == pytest.approx((1 / 8, 1 / 8))


def test_captions_of_one_reference_are_drawn_together():
    counts = make_plan().counts(["b", "a", "c"])
    assert (counts[:, 0] == counts[:, 1]).all()
    assert not (counts[:, 0] == counts[:, 2]).all()


def test_fewer_than_six_references_have_no_interval():
    estimate = make_plan(references=[f"r{index % 5}" for index in range(8)]).mean(np.arange(8.0), CLIPS)
    assert estimate.value == 3.5
    assert np.isnan([estimate.low, estimate.high]).all()


def test_clips_without_value_are_not_averaged(scores):
    scores.clips("fp32", 0, "clap_mini", {"a": 0.2, "b": None, "c": 0.4, "d": None})
    frame, *_ = read_scores(scores.paths)
    estimate = estimate_metric(rows_of(frame, "fp32", "clap_mini"), make_plan())
    assert estimate.value == pytest.approx(0.3)
    assert estimate.n == 2


def test_metric_without_any_value_has_no_estimate(scores):
    scores.clips("fp32", 0, "clap_mini", dict.fromkeys(CLIPS))
    scores.write(
        "fp32", 0, "fd_mini", set_table("fd_mini", estimate=np.nan, replicates=[], notes={}, absent="no references")
    )
    frame, *_ = read_scores(scores.paths)
    assert estimate_metric(rows_of(frame, "fp32", "clap_mini"), make_plan()) is None
    assert estimate_metric(rows_of(frame, "fp32", "fd_mini"), make_plan()) is None


def test_seeds_are_pooled(scores):
    scores.clips("fp32", 0, "clap_mini", dict.fromkeys(CLIPS, 0.2))
    scores.clips("fp32", 5, "clap_mini", dict.fromkeys(CLIPS, 0.4))
    scores.whole("fp32", 0, "fd_mini", 2.0, [1.0, 3.0])
    scores.whole("fp32", 5, "fd_mini", 4.0, [3.0, 5.0])
    frame, *_ = read_scores(scores.paths)
    assert estimate_metric(rows_of(frame, "fp32", "clap_mini"), make_plan()).value == pytest.approx(0.3)
    pooled = estimate_metric(rows_of(frame, "fp32", "fd_mini"), make_plan())
    # Replicates 2 and 4 have mean 3: the interval is the estimate 3 plus the 2.5 % and 97.5 % points of -1 and 1, widened for
    # seven references.
    half = 0.95 * np.sqrt(7 / 6)
    assert (pooled.value, pooled.low, pooled.high) == pytest.approx((3.0, 3 - half, 3 + half))


def test_left_out_clips_do_not_turn_a_set_metric_into_a_per_clip_one(scores):
    frame = set_table("fd_mini", estimate=2.0, replicates=[1.9, 2.1], notes={"b": "silent"})
    scores.write("fp32", 0, "fd_mini", frame)
    read, *_ = read_scores(scores.paths)
    assert estimate_metric(read, make_plan()).value == 2.0
    named = excluded_clips(read, read_manifests({}))
    assert named[["clip_id", "reason", "metrics"]].values.tolist() == [["b", "silent", "fd_mini"]]


def test_a_set_without_a_value_is_named(scores):
    scores.write(
        "w8", 0, "fd_mini", set_table("fd_mini", estimate=np.nan, replicates=[np.nan], notes={}, absent="too few")
    )
    read, *_ = read_scores(scores.paths)
    named = excluded_clips(read, read_manifests({}))
    assert named[["recipe", "clip_id", "reason"]].values.tolist() == [["w8", WHOLE_SET, "too few"]]


def test_unknown_clip_is_a_users_mistake():
    with pytest.raises(UserError, match=r"'zebra'.*delete the score files"):
        make_plan().counts(["a", "zebra"])


MANY = [f"clip-{index}" for index in range(8)]
MARGINS = {
    "clap": 0.02,
    "kl": {"relative": 0.05},
    "fd": {"relative": 0.05},
    "kl_fp32": {"of_seed": 0.25},
    "fd_fp32": {"of_seed": 0.25},
}


def compare(scores, noise_floor_seed=None, margins=MARGINS, n_clips=8, **more):
    frame, metrics, settings = read_scores(scores.paths)
    clip_ids = MANY[:n_clips]
    plan = Plan(pd.DataFrame({"clip_id": clip_ids, "reference_id": clip_ids}), 400, seed=0)
    found = Comparison(
        frame,
        metrics,
        "fp32",
        noise_floor_seed,
        plan,
        margins=margins,
        settings={**settings, **more.pop("settings", {})},
        **more,
    )
    return found, found.frame(["fp32", "w8"])


def clips_of(value, **others):
    """The same value for all clips but those that are named by their number."""
    own = {f"clip-{number.removeprefix('c')}": other for number, other in others.items()}
    return dict.fromkeys(MANY, value) | own


def test_paired_difference_is_exact_and_uses_common_clips_only(scores):
    values = dict(zip(MANY, np.linspace(0.1, 0.9, 8), strict=True))
    scores.clips("fp32", 0, "clap_mini", values)
    scores.clips("w8", 0, "clap_mini", {clip: value - 0.1 for clip, value in values.items()} | {"clip-1": None})
    row = compare(scores)[1].iloc[0]
    # Each common clip lost exactly 0.1, so that every replicate's difference is -0.1 and the interval has no width.
    assert (row.difference, row.low, row.high) == pytest.approx((-0.1, -0.1, -0.1), abs=1e-12)
    assert (row.n_pairs, row.margin, row.verdict) == (7, 0.02, WORSE)


def test_seeds_are_paired_with_their_own(scores):
    scores.clips("fp32", 0, "clap_mini", clips_of(0.1))
    scores.clips("fp32", 5, "clap_mini", clips_of(0.9))
    scores.clips("w8", 5, "clap_mini", clips_of(0.8))
    assert compare(scores)[1].iloc[0].difference == pytest.approx(-0.1)


def test_set_metric_is_compared_replicate_by_replicate(scores):
    draws = np.random.default_rng(0).normal(5.0, 2.0, 200)
    scores.whole("fp32", 0, "fd_mini", 5.0, list(draws))
    scores.whole("w8", 0, "fd_mini", 5.5, list(draws + 0.5))
    row = compare(scores)[1].iloc[0]
    # The draws spread by +-4, their differences not at all: pairing is what makes half a unit visible.
    assert (row.difference, row.low, row.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (row.margin, row.verdict, row.n_pairs) == (0.25, WORSE, 8)


def test_clips_left_out_of_a_set_are_no_pairs(scores):
    frame = set_table("fd_mini", estimate=2.0, replicates=[1.9, 2.1], notes={"clip-2": "silent"})
    scores.write("w8", 0, "fd_mini", frame)
    scores.whole("fp32", 0, "fd_mini", 2.0, [1.9, 2.1])
    assert compare(scores)[1].iloc[0].n_pairs == 7


def test_windows_fewer_than_twice_the_dimensions_carry_no_verdict(scores):
    scores.whole("fp32", 0, "fd_mini", 5.0, [5.0] * 20)
    scores.whole("w8", 0, "fd_mini", 9.0, [9.0] * 20)
    few = {("w8", 0, "fd_mini"): {"n_windows": 56, "dim": 64}}
    row = compare(scores, settings=few)[1].iloc[0]
    assert (row.verdict, row.n_needed) == (NOT_ENOUGH, 19)  # 128 windows, at seven a clip
    assert row.reason == "56 windows of 64 dimensions are too few"
    enough = {("w8", 0, "fd_mini"): {"n_windows": 128, "dim": 64}}
    assert compare(scores, settings=enough)[1].iloc[0].verdict == WORSE


def test_noise_floor_is_the_other_seeds_difference_and_decides_nothing(scores):
    scores.clips("fp32", 0, "clap_mini", clips_of(0.5))
    scores.clips("fp32", 9, "clap_mini", clips_of(0.3))
    scores.clips("w8", 0, "clap_mini", clips_of(0.47))
    comparison, frame = compare(scores, noise_floor_seed=9)
    assert comparison.floors["clap_mini"].value == pytest.approx(-0.2)
    assert frame["recipe"].tolist() == ["w8"]
    assert frame.iloc[0].noise_floor == pytest.approx(-0.2)
    assert frame.iloc[0].verdict == WORSE  # by the margin of 0.02, whatever another seed does


def test_distances_have_a_share_of_the_other_seeds_as_margin(scores):
    scores.clips("fp32", 9, "kl_mini_fp32", clips_of(2.0))
    for recipe, value in (("w8", 0.4), ("w4", 0.6)):
        scores.clips(recipe, 0, "kl_mini_fp32", clips_of(value))
    comparison, _ = compare(scores, noise_floor_seed=9)
    frame = comparison.frame(["fp32", "w8", "w4"])
    assert frame["margin"].tolist() == [0.5, 0.5]
    assert frame["verdict"].tolist() == [EQUIVALENT, WORSE]
    alone = compare(scores)[1]
    assert alone["verdict"].tolist() == [NOT_ENOUGH]  # without another seed the margin refers to nothing
    assert "nothing that its margin could refer to" in alone["reason"][0]


def test_a_metric_without_a_margin_has_no_verdict(scores):
    scores.clips("fp32", 9, "mcd_db", clips_of(6.0))
    scores.clips("w8", 0, "mcd_db", clips_of(2.0))
    comparison, frame = compare(scores, noise_floor_seed=9)
    assert comparison.floors["mcd_db"].value == 6.0
    assert frame[["recipe", "difference", "noise_floor", "verdict"]].values.tolist() == [["w8", 2.0, 6.0, NO_VERDICT]]
    assert judged(frame) == {}
    scores.clips("fp32", 0, "clap_mini", clips_of(0.5))
    scores.clips("w8", 0, "clap_mini", clips_of(0.3))
    assert compare(scores, margins={**MARGINS, "clap_mini": None})[1]["verdict"].tolist() == [NO_VERDICT] * 2


def test_a_distance_of_whole_sets_has_its_own_interval(scores):
    draws = np.linspace(-0.5, 0.5, 200)
    scores.whole("fp32", 9, "fd_mini_fp32", 6.0, list(7 + draws))
    scores.whole("fp32", 0, "fd_mini_fp32", 0.0, [0.0] * 200)
    scores.whole("w8", 0, "fd_mini_fp32", 0.7, list(0.9 + draws))
    comparison, frame = compare(scores, noise_floor_seed=9)
    assert comparison.floors["fd_mini_fp32"].value == 6.0
    row = frame.iloc[0]
    assert (row.recipe, row.difference, row.margin, row.verdict) == ("w8", 0.7, 1.5, EQUIVALENT)
    # The draws' spread, their shift removed, widened for eight clusters.
    assert row.high == pytest.approx(0.7 + 0.475 * np.sqrt(8 / 7), abs=1e-9)


@pytest.mark.parametrize("survivors", [1, 7])
def test_a_recipe_of_which_clips_are_silent_is_worse_on_every_measure(scores, survivors):
    """The clips that are left may be as good as they like."""
    for metric in ("clap_mini", "mcd_db"):
        left = {clip: (0.9 if index < survivors else None) for index, clip in enumerate(MANY)}
        scores.clips("fp32", 0, metric, clips_of(0.5))
        scores.clips("w8", 0, metric, left)
    _, frame = compare(scores, unusable={"w8": 8 - survivors})
    assert frame["verdict"].tolist() == [WORSE, WORSE]
    assert judged(frame)["w8"].word == WORSE
    _, equal = compare(scores, unusable={"w8": 8 - survivors, "fp32": 8 - survivors})
    assert equal["verdict"].tolist() != [WORSE, WORSE]


def test_a_recipe_without_any_usable_clip_is_worse(scores):
    scores.clips("fp32", 0, "clap_mini", clips_of(0.5))
    scores.clips("w8", 0, "clap_mini", clips_of(None))
    frame = compare(scores, unusable={"w8": 8})[1]
    assert frame[["verdict", "n_pairs"]].values.tolist() == [[WORSE, 0]]


def test_fewer_than_six_references_have_no_interval_and_no_verdict(scores):
    scores.clips("fp32", 0, "clap_mini", dict.fromkeys(MANY[:5], 0.5))
    scores.clips("w8", 0, "clap_mini", dict.fromkeys(MANY[:5], 0.1))
    row = compare(scores, n_clips=5)[1].iloc[0]
    assert np.isnan([row.low, row.high]).all()
    assert (row.verdict, row.n_pairs) == (NOT_ENOUGH, 5)


def test_a_small_certain_difference_is_named_and_no_loss(scores):
    scores.clips("fp32", 0, "clap_mini", clips_of(0.5))
    scores.clips("w8", 0, "clap_mini", clips_of(0.499))
    frame = compare(scores)[1]
    assert frame["verdict"].tolist() == [DIFFERENT]
    assert judged(frame)["w8"].word == EQUIVALENT


def test_recipe_that_shares_no_clip_is_undecided(scores):
    scores.clips("fp32", 0, "clap_mini", {"clip-0": 0.1, "clip-1": None})
    scores.clips("w8", 0, "clap_mini", {"clip-0": None, "clip-1": 0.1})
    assert compare(scores)[1]["reason"].tolist() == ["no pair of clips has values"]
    assert compare(scores, margins={})[1].empty


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
