"""A quantized file alone gives a model that samples."""

import re
import subprocess
import sys

import pytest
import torch

from audioptq.calibrate.run import calibrate
from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import read_tensor_metadata, read_tensors, write_tensors
from audioptq.generate.load import open_generator
from audioptq.generate.text_to_audio import TextToAudio
from audioptq.machine import memory
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.quantize import QuantRecipe, load_quantized, quantize_model, save_quantized
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
        clock, _ = quantize_model(model.network, recipe, stats, model.sites())
        if clock is not None:
            model.add_step_listener(clock.set_level)
        path = tmp_path / f"{name}.safetensors"
        save_quantized(
            path,
            model.network,
            recipe,
            components=model.components,
            metadata={"family": model.family, "model_config": model.config},
        )
        return path, model

    return save


def test_full_precision_comes_back_exactly(saved, tiny_model, latents):
    opened = open_generator(saved("fp32", {})[0])
    loaded, recipe = opened.model, opened.recipe
    assert recipe.name == "fp32"
    assert torch.equal(latents(loaded), latents(tiny_model))


def test_a_timestep_recipe_follows_the_sampler_after_loading(saved, tiny_model, latents):
    path, made = saved("w4a8_sqd", TIMESTEP)
    opened = open_generator(path)
    loaded, recipe = opened.model, opened.recipe
    assert recipe.name == "w4a8_sqd"
    ours = latents(loaded)
    assert torch.equal(ours, latents(made))
    difference = (ours - latents(tiny_model)).norm() / ours.norm()
    assert 1e-3 < difference < 1.5  # quantized, and not another sound altogether


@pytest.mark.parametrize("entry", [{}, {"dtype": "bfloat16"}, TIMESTEP], ids=["fp32", "bf16", "w4a8_sqd"])
def test_the_lean_loader_gives_what_an_ordinary_one_gives(saved, latents, entry):
    """Against a network that is built in full, with its buffers, and then filled."""
    path, _ = saved("recipe", entry)
    ordinary = StableAudioModel(read_tensor_metadata(path)["model_config"])
    clock, _ = load_quantized(path, ordinary.network)
    if clock is not None:
        ordinary.add_step_listener(clock.set_level)
    opened = open_generator(path)
    lean = opened.model
    theirs = dict(ordinary.network.named_buffers())
    for name, buffer in lean.network.named_buffers():  # also those that no state dict holds
        if not name.startswith("pretransform.") or buffer.dtype == theirs[name].dtype:
            assert torch.equal(buffer, theirs[name]), name
    assert {p.device.type for p in lean.network.parameters()} == {"cpu"}
    ours = latents(lean)
    assert torch.equal(ours, latents(ordinary))
    assert torch.equal(lean.decode(ours), ordinary.decode(ours))
    assert [t.dtype for t in lean.network.state_dict().values()] == [
        t.dtype for t in ordinary.network.state_dict().values()
    ]


def test_the_autoencoder_stays_in_the_file_until_it_decodes(saved):
    path, _ = saved("w4a8_sqd", TIMESTEP)
    opened = open_generator(path)
    lean = opened.model
    assert lean.network.pretransform.basis.dtype == torch.float16
    foretold = lean.pretransform_bytes()
    content = path.read_bytes()
    lean.network.pretransform.mean.add_(0)  # a change of the network is none of the file
    path.unlink()  # which may go, or make room for another of its name
    with torch.inference_mode():
        lean.decode(torch.zeros(1, *lean.latent_shape))
    assert lean.network.pretransform.basis.dtype == torch.float32
    assert foretold == sum(tensor.nbytes for tensor in lean.network.pretransform.state_dict().values()) > 0
    lean.network.pretransform.basis.mul_(2)  # no tensor of inference mode, which could not be changed here
    path.write_bytes(content)
    assert torch.equal(open_generator(path).model.network.pretransform.mean.float(), lean.network.pretransform.mean)


@pytest.mark.slow
def test_the_peak_of_loading_is_about_the_file(tiny_config, tmp_path):
    """In a process of its own, whose high-water mark nothing else has moved."""
    config = tiny_config | {"model": {**tiny_config["model"]}}
    config["model"]["diffusion"] = {**config["model"]["diffusion"]}
    config["model"]["diffusion"]["config"] = {
        **config["model"]["diffusion"]["config"], "embed_dim": 768, "depth": 8, "num_heads": 8
    }  # fmt: skip
    model = StableAudioModel(config)
    recipe = QuantRecipe.from_config("w8", {"weight": {"bits": 8}})
    quantize_model(model.network, recipe, None, model.sites())
    path = tmp_path / "w8.safetensors"
    metadata = {"family": model.family, "model_config": config}
    size = save_quantized(path, model.network, recipe, components=model.components, metadata=metadata)
    code = (
        "import re, sys\n"
        "from audioptq.generate.load import open_generator\n"
        "from audioptq.models.stable_audio.adapter import StableAudioModel\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) * 1024\n"
        "before = peak()\n"
        "model = open_generator(sys.argv[1]).model\n"
        "print(peak() - before)\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert size["total"] > 50e6
    assert size["total"] * 0.9 < int(done.stdout) < size["total"] * 1.35 < size["denoiser_fp32"]


def test_another_schedule_than_calibrations_is_refused_before_the_first_step(saved, latents):
    opened = open_generator(saved("w4a8_sqd", TIMESTEP)[0])
    loaded = opened.model
    heard = []
    loaded.add_step_listener(heard.append)
    with pytest.raises(UserError, match="another schedule") as caught:
        latents(loaded, sigma_max=60.0)
    assert heard == []
    # Of 60, 10.3, 1.75, 0.3 the first is furthest from any of 80, 12.4, 1.93, 0.3: by a quarter.
    assert "noise level sigma = 60" in str(caught.value)
    assert "the nearest calibrated level is 80" in str(caught.value)
    latents(loaded)
    assert len(heard) == 4


def test_too_little_memory_is_said_before_any_is_taken(saved, tmp_path, monkeypatch):
    path, _ = saved("w4a8_sqd", TIMESTEP)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    1000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", meminfo)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr("audioptq.generate.load.load_quantized", None)
    with pytest.raises(
        UserError, match=r"its tensors.*float32.*what decodes.*activations of 3 .*1\.0 MB are available"
    ) as caught:
        open_generator(path, batch_size=3)
    assert str(path) in str(caught.value)
    (tmp_path / "memory.max").write_text("5000000\n")  # a container's limit counts where it is lower
    (tmp_path / "memory.current").write_text("4900000\n")
    (tmp_path / "memory.stat").write_text("active_file 300000\ninactive_file 100000\n")
    with pytest.raises(UserError, match=r"0\.5 MB are available"):
        open_generator(path)


def test_a_flipped_bit_in_the_configuration_is_damage_and_no_mistake_of_the_users(saved):
    path, _ = saved("fp32", {})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"diffusion_cond", b"diffusion_conf", 1))
    with pytest.raises(DamagedArtifactError, match="do not match the digest"):
        open_generator(path)


def test_the_text_encoders_dtype_is_kept_and_refused_without_a_t5(saved):
    with pytest.raises(UserError, match=r"`text_dtype` is float32, but this model has no T5"):
        open_generator(saved("fp32_text", {"text_dtype": "float32"})[0])


def test_files_that_are_no_quantized_model_are_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(DamagedArtifactError, match=r"weights\.safetensors"):
        open_generator(path)
    write_tensors(path, {"a": torch.ones(1)}, {"recipe": {}})
    with pytest.raises(DamagedArtifactError, match="it is no quantized model of audioptq"):
        open_generator(path)


def test_a_quantized_module_without_its_configuration_is_named(tiny_model, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_quantized(path, tiny_model.network, QuantRecipe("fp32"), components={}, metadata={})
    with pytest.raises(DamagedArtifactError, match=rf"{re.escape(str(path))}.*does not hold a model's configuration"):
        open_generator(path)


@pytest.mark.parametrize("change", [{"name": "eluer"}, {"steps": 0}, {"speed": 2}], ids=str)
def test_a_recorded_sampler_that_is_none_is_damage(saved, change):
    path, _ = saved("w8a8", {"weight": {"bits": 8}})
    tensors, record = read_tensors(path)
    sampler = {"name": "dpmpp-2m", "steps": 4, "cfg_scale": 1.0}
    write_tensors(path, tensors, record | {"sampler": sampler | change})
    with pytest.raises(
        DamagedArtifactError, match=rf"{re.escape(str(path))} cannot be used: the sampler that it records"
    ):
        TextToAudio.load(path)
