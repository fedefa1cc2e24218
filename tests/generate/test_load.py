"""A quantized file alone gives a model that samples."""

import pytest
import torch

from audioptq.artifacts import write_tensors
from audioptq.calibrate.run import calibrate
from audioptq.errors import DamagedArtifactError, UserError
from audioptq.generate.load import load_generator
from audioptq.quantize import QuantRecipe, quantize_model, save_quantized
from audioptq.sampling.sampler import sample

TIMESTEP = {
    "weight": {"bits": 4, "granularity": "per_channel"},
    "activation": {"bits": 8, "range": "dynamic", "granularity": "per_token"},
    "smoothing": {"kind": "timestep", "alpha": 0.5, "form": "stored"},
}


@pytest.fixture
def latents(make_settings):
    def sampled(model, **changes):
        settings = make_settings(**changes)
        return sample(model, ["a dog barks"], [4.096], clip_ids=["a"], seed=1, settings=settings)

    return sampled


@pytest.fixture
def saved(tiny_model, tiny_prompts, make_settings, tmp_path):
    """Writes a quantized file; returns its path and the model that it was made of, ready to sample."""

    def save(name, entry):
        model = type(tiny_model)(tiny_model.config)
        model.network.load_state_dict(tiny_model.network.state_dict())
        recipe = QuantRecipe.from_config(name, entry)
        stats, _ = calibrate(tiny_model, tiny_prompts[:2], settings=make_settings(), seed=0, batch_size=2)
        clock, _ = quantize_model(model.network, recipe, stats, model.quantizable_layers())
        if clock is not None:
            model.add_step_listener(clock.set_sigma)
        path = tmp_path / f"{name}.safetensors"
        save_quantized(
            path, model.network, recipe, components=model.components, metadata={"model_config": model.config}
        )
        return path, model

    return save


def test_full_precision_comes_back_exactly(saved, tiny_model, latents):
    loaded, recipe = load_generator(saved("fp32", {})[0])
    assert recipe.name == "fp32"
    assert torch.equal(latents(loaded), latents(tiny_model))


def test_a_timestep_recipe_follows_the_sampler_after_loading(saved, tiny_model, latents):
    path, made = saved("w4a8_sqd", TIMESTEP)
    loaded, recipe = load_generator(path)
    assert recipe.name == "w4a8_sqd"
    ours = latents(loaded)
    assert torch.equal(ours, latents(made))
    difference = (ours - latents(tiny_model)).norm() / ours.norm()
    assert 1e-3 < difference < 1.5  # quantized, and not another sound altogether


def test_another_schedule_than_calibrations_is_refused(saved, latents):
    loaded, _ = load_generator(saved("w4a8_sqd", TIMESTEP)[0])
    with pytest.raises(UserError, match="another schedule"):
        latents(loaded, sigma_max=60.0)


def test_the_text_encoders_dtype_is_kept_and_refused_without_a_t5(saved):
    with pytest.raises(UserError, match=r"`text_dtype` is float32, but this model has no T5"):
        load_generator(saved("fp32_text", {"text_dtype": "float32"})[0])


def test_files_that_are_no_quantized_model_are_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(DamagedArtifactError, match=r"weights\.safetensors"):
        load_generator(path)
    write_tensors(path, {"a": torch.ones(1)}, {"recipe": {}})
    with pytest.raises(DamagedArtifactError, match="does not hold a model's configuration"):
        load_generator(path)
