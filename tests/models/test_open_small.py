"""Stable Audio Open Small as it is published: a rectified flow in eight ping-pong steps, its counts, and every recipe in small."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors import safe_open

from audioptq.calibrate.run import calibrate
from audioptq.errors import UserError
from audioptq.generate import TextToAudio
from audioptq.models.registry import open_model
from audioptq.models.stable_audio.build import build_network
from audioptq.quantize import QuantRecipe
from audioptq.quantize.to_file import quantize_to_file
from audioptq.sampling.noise import clip_seed, initial_noise
from audioptq.sampling.sampler import DEFAULT_SAMPLER, SamplerSettings, sample

ROOT = Path(__file__).parents[2]
RECIPES = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["recipes"]
CAPTIONS, CLIP_IDS = ["a dog barks", "rain falls"], ["1", "2"]
SETTINGS = SamplerSettings("ping-pong", steps=8, cfg_scale=1.0)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def folder(published_model, published, tmp_path_factory):
    return published_model.publish_stable_audio(tmp_path_factory.mktemp("open_small"), "open_small")


@pytest.fixture(scope="module")
def model(folder, published):
    return open_model(folder, published / "t5")


@pytest.fixture(scope="module")
def stats(model):
    prompts = pd.DataFrame({"clip_id": ["a"], "caption": ["a bell rings"], "seconds_total": [11.0]})
    return calibrate(model, prompts, settings=SETTINGS, seed=5, batch_size=1)[0]


def test_the_published_geometry_has_the_published_counts(published_model):
    with torch.device("meta"):
        network = build_network(published_model.published_config("open_small_full"))
    linears = [m for n, m in network.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in n]
    assert (count(network.model), len([m for m in linears if m.in_features > 512])) == (340_879_488, 112)
    # The denoiser and its timing in 32 bits, the autoencoder in 16: but for the header the size of the published file.
    n_bytes = 4 * (count(network.model) + count(network.conditioner)) + 2 * count(network.pretransform)
    assert n_bytes == pytest.approx(1_676_829_212, rel=1e-3)


def test_a_directory_is_read_whatever_its_tensors_are_stored_in(folder, model):
    with safe_open(str(folder / "model.safetensors"), framework="pt") as handle:
        kinds = {name.partition(".")[0]: handle.get_slice(name).get_dtype() for name in handle.keys()}
    assert kinds == {"model": "F32", "conditioner": "F32", "pretransform": "F16"}
    assert {tensor.dtype for tensor in model.network.state_dict().values()} == {torch.float32}
    assert json.loads((folder / "model_config.json").read_text())["sample_size"] / 44100 == model.max_seconds
    assert f"{model.max_seconds:.2f}" == "11.89"


def test_its_sampler_is_stable_audio_tools_own_given_the_same_noise(model, monkeypatch):
    from stable_audio_tools.inference.sampling import sample_rf

    ours = sample(model, CAPTIONS, [11.0, 8.0], clip_ids=CLIP_IDS, seed=3, settings=SETTINGS)
    generators = [torch.Generator().manual_seed(clip_seed(3, f"{clip_id}/sde")) for clip_id in CLIP_IDS]
    drawn = []

    def randn_like(x):
        drawn.append(torch.stack([torch.randn(x.shape[1:], generator=generator) for generator in generators]))
        return drawn[-1]

    monkeypatch.setattr(torch, "randn_like", randn_like)
    noise = initial_noise(3, CLIP_IDS, model.latent_shape)
    with torch.inference_mode():
        theirs = sample_rf(
            model.network.model, noise, steps=8, sampler_type="pingpong", sigma_max=1, device="cpu",
            cfg_scale=1.0, **model.condition(CAPTIONS, [11.0, 8.0]),
        )  # fmt: skip
    assert len(drawn) == 8
    # The same operations in the same order; levels pass through Python's numbers. A few roundings of float32, eight passes.
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_without_guidance_no_pass_has_twice_the_batch(model):
    sizes = []
    handle = model.network.get_submodule(model.sites()[0].name).register_forward_hook(
        lambda _module, args, _y: sizes.append(len(args[0]))
    )
    sample(model, CAPTIONS, [11.0] * 2, clip_ids=CLIP_IDS, seed=3, settings=SETTINGS)
    handle.remove()
    assert sizes == [2] * 8


def test_every_condition_is_heard(model):
    def run(caption="a dog barks", seconds=11.0, clip_id="1"):
        return sample(model, [caption], [seconds], clip_ids=[clip_id], seed=1, settings=SETTINGS)

    plain = run()
    for other in (run(caption="rain falls"), run(seconds=3.0), run(clip_id="2")):
        assert (other - plain).norm() > 1e-3 * plain.norm()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_goes_the_whole_way(folder, published, model, stats, tmp_path, name):
    recipe = QuantRecipe.from_config(name, RECIPES[name])
    path = tmp_path / "weights.safetensors"
    made = quantize_to_file(open_model(folder), recipe, stats, path, name="small")
    assert made.layers["quantized"].all() == (recipe.weight is not None)
    generator = TextToAudio.load(path, published / "t5")
    assert generator.sampler.record() == SETTINGS.record()
    audio = generator.generate("a dog barks", seconds=0.5)
    assert audio.shape == (2, 22050)
    ours, plain = (
        sample(each, CAPTIONS, [11.0] * 2, clip_ids=CLIP_IDS, seed=1, settings=SETTINGS)
        for each in (generator.model, model)
    )
    distance = ((ours - plain).norm() / plain.norm()).item()
    assert distance < 1.5  # quantized; of noise that is drawn anew it would be larger still at four bits
    assert (distance == 0) == (name == "fp32")


def test_another_objectives_sampler_or_schedule_is_refused_by_name(model, stats, folder, published, tmp_path):
    with pytest.raises(UserError, match=r"dpmpp-3m-sde does not go with .* rectified_flow: .* euler, ping-pong"):
        sample(model, CAPTIONS, [11.0] * 2, clip_ids=CLIP_IDS, seed=1, settings=DEFAULT_SAMPLER)
    recipe = QuantRecipe.from_config("w8a8_sqd", RECIPES["w8a8_sqd"])
    quantize_to_file(open_model(folder), recipe, stats, tmp_path / "weights", name="small")
    generator = TextToAudio.load(tmp_path / "weights", published / "t5")
    with pytest.raises(UserError, match=r"noise level t = .* another schedule, whose 8 levels are 1, 0\.9933"):
        generator.generate("a dog barks", steps=7)
    with pytest.raises(UserError, match=r"noise level t = "):
        generator.generate("a dog barks", name="euler", logsnr_min=None, logsnr_max=None)  # in even steps of t
    assert generator.generate("a dog barks", name="euler", seconds=0.5).shape == (2, 22050)  # at the calibrated levels


def test_statistics_of_another_objective_are_refused_when_quantizing(
    model, folder, tiny_model, tiny_prompts, make_settings, tmp_path
):
    other, _ = calibrate(tiny_model, tiny_prompts[:1], settings=make_settings(), seed=0, batch_size=1)
    recipe = QuantRecipe.from_config("w8a8_sqd", RECIPES["w8a8_sqd"])
    with pytest.raises(UserError, match=r"under the objective v, but this model's is rectified_flow"):
        quantize_to_file(open_model(folder), recipe, other, tmp_path / "weights", name="small")
