"""Times per clip: the median over clips, and intervals that agree with draws made one by one."""

import numpy as np
import pandas as pd
import pytest

from audioptq.report.measure.aggregate import Plan
from audioptq.report.measure.times import COLUMNS, time_columns, weighted_medians

PROMPTS = pd.DataFrame({"clip_id": ["a", "b", "c"], "reference_id": [None] * 3})


def clips_of(
    recipe: str, seconds: list[float], sizes: list[int], seed: int = 0, shard: str = "shard-0000"
) -> pd.DataFrame:
    batch = np.repeat(np.arange(len(sizes)), sizes)
    where = {"recipe": recipe, "seed": seed, "listed_in": f"generate/{recipe}/seed{seed}/{shard}.parquet"}
    return pd.DataFrame({"batch": batch, "seconds": np.repeat(seconds, sizes)}).assign(**where)


def plan(n_replicates: int = 200, level: float = 0.95) -> Plan:
    return Plan(PROMPTS, n_replicates, seed=3, level=level)


def test_weighted_medians_are_medians_of_the_repeated_values() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=9), rng.integers(0, 4, (50, 9)).astype(float)
    weights[:, 0] += 1  # no empty draw
    expected = [np.median(np.repeat(values, row.astype(int))) for row in weights]
    assert weighted_medians(values, weights).tolist() == expected


def test_estimates_are_medians_over_clips_whatever_the_batches() -> None:
    fp32, w8a8 = [0.4, 0.8, 0.5, 0.7, 0.3, 0.6], [0.2, 0.3, 0.2, 0.1, 0.4, 0.3, 0.2]
    clips = pd.concat([clips_of("fp32", fp32, [4, 4, 4, 4, 1, 1]), clips_of("w8a8", w8a8, [4] * 6 + [3])])
    table = time_columns(clips, ["fp32", "w8a8"], "fp32", plan())
    assert table["seconds_per_clip"].tolist() == [np.median(np.repeat(fp32, [4, 4, 4, 4, 1, 1])), 0.2]
    assert table.at["w8a8", "speedup"] == table.at["fp32", "seconds_per_clip"] / 0.2
    assert table.loc["fp32", ["speedup", "speedup_low", "speedup_high"]].tolist() == [1.0, 1.0, 1.0]
    for name in ("seconds_per_clip", "speedup"):
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()


def test_intervals_cover_what_fresh_batches_would_give() -> None:
    rng = np.random.default_rng(1)
    truth, hits, runs = 0.5, 0, 200
    for _ in range(runs):
        clips = clips_of("fp32", list(truth * np.exp(rng.normal(0, 0.1, 25))), [4] * 25)
        low, high = time_columns(clips, ["fp32"], "fp32", plan()).loc[
            "fp32", ["seconds_per_clip_low", "seconds_per_clip_high"]
        ]
        hits += low <= truth <= high
    # Of 95 % intervals of a median of 25 values, which are known to be somewhat short: three standard errors are 0.05.
    assert 0.88 <= hits / runs <= 0.99


def test_the_same_batches_are_drawn_for_every_recipe() -> None:
    seconds = list(np.linspace(0.3, 0.9, 12))
    clips = pd.concat([clips_of("fp32", seconds, [2] * 12), clips_of("half", [s / 2 for s in seconds], [2] * 12)])
    row = time_columns(clips, ["fp32", "half"], "fp32", plan()).loc["half"]
    assert row[["speedup", "speedup_low", "speedup_high"]].tolist() == pytest.approx([2.0, 2.0, 2.0])
    assert row["seconds_per_clip_low"] < row["seconds_per_clip_high"]


def test_batches_of_several_shards_and_seeds_are_several() -> None:
    where = [(seed, shard) for seed in (0, 1) for shard in ("a", "b", "c")]
    parts = [clips_of("fp32", [0.1 * n], [2], seed, shard) for n, (seed, shard) in enumerate(where, 1)]
    row = time_columns(pd.concat(parts), ["fp32"], "fp32", plan()).loc["fp32", list(COLUMNS[:3])]
    assert row["seconds_per_clip"] == pytest.approx(0.35)
    assert 0.1 <= row["seconds_per_clip_low"] < 0.35 < row["seconds_per_clip_high"] <= 0.6


@pytest.mark.parametrize(("level", "enough"), [(0.95, 6), (0.5, 2), (0.9, 5)])
def test_too_few_batches_have_no_interval_and_no_clip_no_time(level: float, enough: int) -> None:
    few = clips_of("few", [0.4] * (enough - 1), [3] * (enough - 1))
    clips = pd.concat([few, clips_of("fp32", [0.4] * enough, [3] * enough)])
    table = time_columns(clips, ["fp32", "few", "absent"], "fp32", plan(level=level))
    assert table.loc["fp32"].tolist() == pytest.approx([0.4, 0.4, 0.4, 1.0, 1.0, 1.0])
    assert table.loc["few", ["seconds_per_clip", "speedup"]].tolist() == pytest.approx([0.4, 1.0])
    assert table.loc["few", [name for name in COLUMNS if name.endswith(("low", "high"))]].isna().all()
    assert table.loc["absent"].isna().all()
    nothing = time_columns(clips_of("fp32", [], []), ["fp32", "absent"], "fp32", plan())
    assert nothing.isna().all(axis=None)
