"""Stable Audio Open 1.0 as it is published: its counts in full, and the whole way of a recipe in small."""

import pandas as pd
import pytest
import torch

from audioptq.audio.clips import read_clip
from audioptq.calibrate.run import calibrate
from audioptq.generate.load import open_generator
from audioptq.generate.shard import GenerationSettings, generate_shard
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.models.stable_audio.build import build_network
from audioptq.quantize import QuantRecipe
from audioptq.quantize.to_file import quantize_to_file
from audioptq.sampling.sampler import SamplerSettings, sample

SQD = {
    "weight": {"bits": 8, "granularity": "per_channel"},
    "activation": {"bits": 8, "range": "dynamic", "granularity": "per_token"},
    "smoothing": {"kind": "timestep", "alpha": 0.5, "form": "stored"},
}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_geometry_has_the_published_counts(published_model):
    with torch.device("meta"):
        network = build_network(published_model.published_config("full"))
    linears = [m for n, m in network.named_modules() if isinstance(m, torch.nn.Linear) and n.startswith("model.")]
    conditioners = network.conditioner.conditioners
    assert count(network.model) == 1_056_828_544
    assert count(network.pretransform) == 156_112_514
    assert {name: count(module) for name, module in conditioners.items()} == {
        "prompt": 0, "seconds_start": 198_272, "seconds_total": 198_272,
    }  # fmt: skip
    assert (len(linears), sum(linear.weight.numel() for linear in linears)) == (176, 1_056_374_784)
    # 4.85 GB in float32, the size of the published file.
    assert count(network) * 4 == pytest.approx(4.85e9, rel=1e-3)


@pytest.fixture(scope="module")
def model(published):
    return StableAudioModel.load(published / "model", published / "t5")


@pytest.fixture(scope="module")
def settings():
    return SamplerSettings("dpmpp-3m-sde", steps=2, sigma_min=0.3, sigma_max=500.0, rho=1.0, cfg_scale=7.0)


@pytest.fixture(scope="module")
def prompts():
    frame = pd.DataFrame({"clip_id": ["1", "2"], "caption": ["a dog barks", "rain falls"], "reference_id": ["1", "2"]})
    return frame.assign(seconds_total=10.0)


@pytest.mark.parametrize("changed", [{"caption": "rain falls"}, {"seconds": 5.0}, {"start": 200.0}, {"cfg_scale": 1.0}])
def test_every_condition_is_heard(model, changed):
    latents = torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(3))

    def run(caption="a dog barks", seconds=10.0, start=0.0, cfg_scale=7.0):
        with torch.inference_mode():
            conditioning = model.condition([caption], [seconds], start)
            return model.denoise(latents * 5, torch.full((1,), 5.0), conditioning, cfg_scale)

    plain = run()
    assert torch.isfinite(plain).all()
    assert (plain - run(**changed)).norm() > 1e-3 * plain.norm()


def test_prompt_and_timing_are_always_passed(model):
    conditioning = model.condition(["a dog barks"], [10.0])
    assert conditioning["cross_attn_cond"].shape == (1, 128 + 2, 32)
    assert conditioning["global_cond"].shape == (1, 64)


def test_the_network_is_stable_audio_tools_own(model, published, monkeypatch):
    from stable_audio_tools.models.conditioners import T5Conditioner
    from stable_audio_tools.models.factory import create_model_from_config

    name = str(published / "t5")
    monkeypatch.setattr(T5Conditioner, "T5_MODELS", [name])
    monkeypatch.setattr(T5Conditioner, "T5_MODEL_DIMS", {name: 32})
    config = {**model.config, "model": {**model.config["model"]}}
    entries = [dict(entry) for entry in config["model"]["conditioning"]["configs"]]
    entries[0]["config"] = {"t5_model_name": name, "max_length": 128}
    config["model"]["conditioning"] = {**config["model"]["conditioning"], "configs": entries}
    theirs = create_model_from_config(config).eval()
    theirs.load_state_dict(model.network.state_dict())  # strictly: the names are the same
    metadata = [{"prompt": "a dog barks", "seconds_start": 0.0, "seconds_total": 10.0}]
    latents = torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        conditioning = theirs.get_conditioning_inputs(theirs.conditioner(metadata, "cpu"))
        expected = theirs.model(latents, torch.tensor([0.6]), cfg_scale=7.0, **conditioning)
        ours = model.network.model(
            latents, torch.tensor([0.6]), cfg_scale=7.0, **model.condition(["a dog barks"], [10.0])
        )
    assert torch.equal(ours, expected)


def test_a_recipe_goes_the_whole_way_to_ten_seconds_of_stereo(published, model, settings, prompts, tmp_path):
    stats, activation = calibrate(model, prompts[:1], settings=settings, seed=1, batch_size=1)
    assert activation.shape == (1 + model.latent_shape[1], 64)
    recipe = QuantRecipe.from_config("w8a8_sqd", SQD)
    fresh = StableAudioModel.load(published / "model")  # no T5 is needed to quantize
    path = tmp_path / "weights.safetensors"
    assert quantize_to_file(fresh, recipe, stats, path, name="open").layers["quantized"].all()
    opened = open_generator(path, published / "t5")
    loaded = opened.model
    manifest, _ = generate_shard(
        loaded, prompts, GenerationSettings(settings, 1, 2, 16, {}), clips_dir=tmp_path / "clips", shard="shard"
    )
    assert manifest["n_samples"].tolist() == [441_000] * 2
    assert manifest["status"].tolist() == ["ok"] * 2
    assert manifest["dropped_words"].tolist() == [0, 0]
    for clip in manifest["path"]:
        audio, sample_rate = read_clip(tmp_path / clip)
        assert (audio.shape, sample_rate) == ((2, 441_000), 44_100)
    latents, plain = (
        sample(each, ["a dog barks"], [10.0], clip_ids=["1"], seed=1, settings=settings) for each in (loaded, model)
    )
    assert 1e-4 < (latents - plain).norm() / plain.norm() < 0.5  # quantized, and still the same model


@pytest.mark.gpu
def test_a_gpu_makes_the_same_latents(model, published, settings):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from audioptq.machine.device import best_device

    def run(device):
        moved = StableAudioModel.load(published / "model", published / "t5", "float32").to(device)
        latents = sample(moved, ["rain falls"], [10.0], clip_ids=["1"], seed=1, settings=settings)
        return latents.cpu(), moved.decode(latents, 441_000).cpu()

    (ours, audio), (expected, expected_audio) = run(best_device()), run("cpu")
    # float32 in another order, through two passes; the decoder's sines let it grow.
    assert (ours - expected).norm() < 1e-3 * expected.norm()
    assert (audio - expected_audio).norm() < 1e-2 * expected_audio.norm()


@pytest.mark.gpu
def test_calibration_on_a_gpu_ends_on_the_cpu(published, settings, prompts):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = StableAudioModel.load(published / "model", published / "t5").to("cuda")
    stats, activation = calibrate(model, prompts[:1], settings=settings, seed=1, batch_size=1)
    tensors = [activation, *(layer.absmax for layer in stats.layers.values())]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
