"""A calibration is used for the model, objective and schedule that it was made with, and for no other."""

import copy
from dataclasses import replace

import pytest

from audioptq.calibrate.run import calibrate
from audioptq.errors import UserError
from audioptq.noise_levels import NoiseLevels
from audioptq.quantize import QuantRecipe
from audioptq.quantize.to_file import quantize_to_file
from audioptq.sampling.sampler import sample

SMOOTHED = QuantRecipe.from_config("smoothed", {"weight": {"bits": 8}, "smoothing": {"kind": "timestep"}})


@pytest.fixture(scope="module")
def stats(tiny_model, tiny_prompts, make_settings):
    return calibrate(tiny_model, tiny_prompts[:1], settings=make_settings(), seed=2, batch_size=1)[0]


def test_another_objective_is_refused_when_the_model_is_quantized(tiny_model, stats, tmp_path):
    other = replace(stats, levels=NoiseLevels("rectified_flow", stats.levels.values))
    with pytest.raises(UserError, match="made under the objective rectified_flow, but this model's is v"):
        quantize_to_file(copy.deepcopy(tiny_model), SMOOTHED, other, tmp_path / "x", name="tiny")
    assert not (tmp_path / "x").exists()


def test_another_schedule_is_refused_when_the_quantized_model_samples(tiny_model, stats, tmp_path, make_settings):
    from audioptq.quantize.layers.apply import quantize_model

    model = copy.deepcopy(tiny_model)
    clock, _ = quantize_model(model.network, SMOOTHED, stats, model.sites())
    model.attach(clock)
    with pytest.raises(UserError, match=r"another schedule, whose 4 levels are 80, .*, 0\.3"):
        sample(model, ["rain falls"], [1.0], clip_ids=["a"], seed=0, settings=make_settings(steps=5))


def test_statistics_that_a_recipe_needs_and_the_calibration_lacks_are_named(tiny_model, stats, tmp_path):
    without = replace(stats, statistics=("other",))
    with pytest.raises(UserError, match="needs the statistics range, which this calibration did not collect"):
        quantize_to_file(copy.deepcopy(tiny_model), SMOOTHED, without, tmp_path / "x", name="tiny")


def test_no_statistics_are_streamed_that_nobody_asked_for(tiny_model, tiny_prompts, make_settings):
    stats, activation = calibrate(
        tiny_model, tiny_prompts[:1], settings=make_settings(steps=2), seed=2, batch_size=1, statistics=()
    )
    assert stats.statistics == ()
    assert not any(layer for layer in stats.layers.values())
    assert activation.shape[1] == 128
    with pytest.raises(UserError, match=r"no statistic 'rnage'. Did you mean 'range'"):
        calibrate(tiny_model, tiny_prompts[:1], settings=make_settings(), seed=2, batch_size=1, statistics=["rnage"])
