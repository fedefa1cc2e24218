"""A calibration that is split over jobs is the same."""

from dataclasses import replace

import pytest
import torch

from audioptq.calibrate.merge import merge_stats
from audioptq.calibrate.run import calibrate
from audioptq.errors import UserError
from audioptq.noise_levels import NoiseLevels

RANGES = ("absmax", "min", "max")


@pytest.fixture
def calibrated(tiny_model, tiny_prompts, make_settings):
    def run(first, last, **changes):
        prompts = tiny_prompts.iloc[first:last]
        return calibrate(tiny_model, prompts, settings=make_settings(**changes), seed=2, batch_size=2)[0]

    return run


def test_shards_have_the_ranges_of_all_prompts(calibrated):
    whole = calibrated(0, 5)
    merged = merge_stats([calibrated(0, 2), calibrated(2, 4), calibrated(4, 5)])
    assert merged.levels == whole.levels
    assert merged.layers.keys() == whole.layers.keys()
    for name, layer in whole.layers.items():
        for kind in RANGES:
            assert torch.equal(getattr(merged.layers[name], kind), getattr(layer, kind)), f"{name}.{kind}"
    assert merged.metadata["clip_ids"] == whole.metadata["clip_ids"]


def test_one_shard_stays_what_it_is(calibrated):
    shard = calibrated(0, 2)
    merged = merge_stats([shard])
    assert merged.metadata == shard.metadata
    assert all(torch.equal(merged.layers[name].max, layer.max) for name, layer in shard.layers.items())


def test_another_schedule_is_refused(calibrated):
    with pytest.raises(UserError, match=r"cannot be merged: .* noise levels 80, .*, 0.3, another at 80, .*, 0.3"):
        merge_stats([calibrated(0, 2), calibrated(2, 4, steps=3)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda stats: {"levels": NoiseLevels("rectified_flow", stats.levels.values)}, ["'v'", "'rectified_flow'"]),
        (lambda stats: {"statistics": ("range", "mean")}, ["the statistics range, another range, mean"]),
        (lambda stats: {"layers": {}}, ["different models", "layers.0.cross_attn.to_kv"]),
    ],
    ids=["objective", "statistics", "model"],
)
def test_another_calibration_is_refused_by_name(calibrated, change, words):
    shard = calibrated(0, 2)
    with pytest.raises(UserError, match="cannot be merged") as caught:
        merge_stats([shard, replace(shard, **change(shard))])
    for word in words:
        assert word in str(caught.value)
