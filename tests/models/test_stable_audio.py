"""Models in stable-audio-tools' layout: built from the schema, loaded from a directory, and heard to obey their inputs."""

import copy
import json
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import write_json, write_tensors
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.models.stable_audio.build import build_network
from audioptq.models.stable_audio.files import read_model_config

MINI = Path(__file__).parents[2] / "models" / "mini"


@pytest.fixture(scope="module")
def plain_config():
    """A configuration of nothing but stable-audio-tools' own modules: oobleck autoencoder, number and int conditioners."""
    coder = {"channels": 4, "c_mults": [1, 2], "strides": [2, 4]}
    return {
        "model_type": "diffusion_cond",
        "sample_size": 256,
        "sample_rate": 16000,
        "audio_channels": 1,
        "model": {
            "pretransform": {
                "type": "autoencoder",
                "config": {
                    "encoder": {"type": "oobleck", "config": {**coder, "in_channels": 1, "latent_dim": 8}},
                    "decoder": {"type": "oobleck", "config": {**coder, "out_channels": 1, "latent_dim": 4}},
                    "bottleneck": {"type": "vae"},
                    "latent_dim": 4,
                    "downsampling_ratio": 8,
                    "io_channels": 1,
                },
            },
            "conditioning": {
                "configs": [
                    {"id": "prompt", "type": "int", "config": {"min_val": 0, "max_val": 9}},
                    {"id": "seconds_total", "type": "number", "config": {"min_val": 0, "max_val": 10}},
                ],
                "cond_dim": 16,
            },
            "diffusion": {
                "cross_attention_cond_ids": ["prompt", "seconds_total"],
                "global_cond_ids": ["seconds_total"],
                "type": "dit",
                "config": {
                    "io_channels": 4,
                    "embed_dim": 32,
                    "depth": 1,
                    "num_heads": 1,
                    "cond_token_dim": 16,
                    "global_cond_dim": 16,
                    "transformer_type": "continuous_transformer",
                },
            },
            "io_channels": 4,
        },
    }


@pytest.fixture
def directory(tiny_config, tiny_model, tmp_path):
    write_json(tmp_path / "model_config.json", tiny_config, sealed=False)
    write_tensors(tmp_path / "model.safetensors", tiny_model.network.state_dict(), {})
    return tmp_path


def test_a_configuration_without_our_modules_builds_and_runs(plain_config):
    torch.manual_seed(0)
    before = copy.deepcopy(plain_config)
    model = StableAudioModel(plain_config)
    assert plain_config == before
    assert model.latent_shape == (4, 32)
    assert model.dropped_words("zyzzyva") == []
    conditioning = model.condition([3, 4], [1.0, 2.0])
    denoised = model.denoise(torch.randn(2, 4, 32), torch.full((2,), 5.0), conditioning, 2.0)
    assert denoised.shape == (2, 4, 32)
    assert model.decode(denoised).shape == (2, 1, 256)


def test_the_quantizable_layers_are_the_blocks_linears_in_order(tiny_model):
    layers = [site.name for site in tiny_model.sites()]
    kinds = [
        "self_attn.to_qkv",
        "self_attn.to_out",
        "cross_attn.to_q",
        "cross_attn.to_kv",
        "cross_attn.to_out",
        "ff.ff.0.proj",
        "ff.ff.2",
    ]
    assert layers == [f"model.model.transformer.layers.{block}.{kind}" for block in range(2) for kind in kinds]
    assert all(isinstance(tiny_model.network.get_submodule(name), torch.nn.Linear) for name in layers)


def test_every_weight_belongs_to_a_component(tiny_model):
    for name in tiny_model.network.state_dict():
        assert sum(name.startswith(prefix) for prefix in tiny_model.components) == 1


def test_the_tiny_network_has_no_dead_weight(tiny_model):
    dead = [
        n for n, p in tiny_model.network.named_parameters() if n.startswith("model.") and p.ndim > 1 and not p.any()
    ]
    assert dead == []


def test_a_directory_gives_the_model_back(directory, tiny_model):
    loaded = StableAudioModel.load(directory)
    state = loaded.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in tiny_model.network.state_dict().items())
    assert loaded.config == tiny_model.config
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    assert not loaded.network.training


@pytest.mark.parametrize("name", ["model_config.json", "model.safetensors"])
@pytest.mark.parametrize("share", [None, 0.0, 0.5])
def test_missing_and_truncated_files_are_named(directory, name, share):
    path = directory / name
    content = path.read_bytes()
    path.unlink()
    if share is not None:
        path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=name) as caught:
        StableAudioModel.load(directory)
    assert str(directory) in str(caught.value)


@pytest.mark.parametrize("content", ["[1, 2]", "5", "null", '"text"'])
def test_a_configuration_that_is_no_mapping_is_named(tmp_path, content):
    (tmp_path / "model_config.json").write_text(content)
    with pytest.raises(UserError, match=r"no readable model_config\.json"):
        read_model_config(tmp_path)


def test_tensors_of_another_shape_or_fewer_are_refused(directory):
    tensors = load_file(directory / "model.safetensors")
    name = "model.model.preprocess_conv.weight"
    for damaged in ({**tensors, name: torch.zeros(3)}, {key: tensors[key] for key in tensors if key != name}):
        write_tensors(directory / "model.safetensors", damaged, {})
        with pytest.raises(DamagedArtifactError, match="does not fit its configuration") as caught:
            StableAudioModel.load(directory)
        assert name in str(caught.value)


def change(config, path, value):
    config = copy.deepcopy(config)
    *parents, last = path.split(".")
    part = config
    for key in parents:
        part = part[int(key) if isinstance(part, list) else key]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("model", None, "`model.*` is 'absent'"),
        ("model_type", "autoencoder", "`model_type` is 'autoencoder'; what is built here is diffusion_cond"),
        ("model_type", "diffusion_uncond", "`model_type` is 'diffusion_uncond'"),
        ("model_type", 5, "`model_type` is 5; text is needed"),
        ("sample_rate", None, "`sample_rate` is 'absent'"),
        ("sample_size", None, "`sample_size` is 'absent'"),
        ("sample_size", "long", "`sample_size` is 'long'; a whole number"),
        ("sample_size", True, "`sample_size` is True"),
        ("sample_size", 2**40, "a number from 1 to 268435456"),
        ("model.io_channels", None, "`model.io_channels` is 'absent'"),
        ("model.diffusion", None, "`model.diffusion` is 'absent'"),
        ("model.diffusion", "null", "`model.diffusion` is 'null'; a mapping"),
        ("model.diffusion.type", "unet of mine", "`model.diffusion.type` is 'unet of mine'"),
        ("model.diffusion.config.embed_dim", 10**9, "`model.diffusion.config.embed_dim` is 1000000000"),
        ("model.diffusion.config.depth", 10**4, "a number from 1 to 256"),
        ("model.diffusion.config.depth", float("nan"), "`model.diffusion.config.depth` is nan"),
        ("model.diffusion.config.num_heads", 3, "a divisor of embed_dim, 128"),
        ("model.diffusion.diffusion_objective", "eps", "v, rectified_flow, rf_denoiser are sampled here"),
        ("model.diffusion.global_cond_ids", ["mood"], "a list of ids of conditioners"),
        ("model.conditioning", None, "`model.conditioning` is 'absent'"),
        ("model.conditioning.cond_dim", "wide", "`model.conditioning.cond_dim` is 'wide'"),
        ("model.conditioning.configs", [], "one with the id prompt"),
        ("model.conditioning.configs", [5], "`model.conditioning.configs.0` is 5; a mapping"),
        (
            "model.conditioning.configs.0.type",
            "clap_text",
            "'clap_text'; what is built here is number, int, word_transformer, t5",
        ),
        ("model.conditioning.configs.1.id", "mood", "`model.conditioning.configs.1.id` is 'mood'"),
        ("model.conditioning.configs.1.config.pretransform_ckpt_path", "/etc/passwd", "may name no file"),
        ("model.conditioning.configs.0.config.clap_ckpt_path", "model.safetensors", "may name no file"),
        ("model.pretransform.type", "dac_pretrained", "'dac_pretrained'; what is built here is mel_pca, autoencoder"),
        ("model.pretransform.type", "mel_pcb", "Did you mean 'mel_pca'"),
        ("model.pretransform.config.n_fft", 10**6, "`model.pretransform.config.n_fft` is 1000000"),
    ],
)
def test_configurations_are_refused_by_the_name_of_their_key_before_anything_is_built(
    tiny_config, path, value, named, monkeypatch
):
    monkeypatch.setattr("audioptq.models.stable_audio.build.create_diffusion_cond_from_config", None)
    with pytest.raises(UserError, match=r"The model configuration cannot be used") as caught:
        StableAudioModel(change(tiny_config, path, value))
    assert re.search(named, str(caught.value))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("encoder.type", "dac", "oobleck"),
        ("bottleneck.type", "rvq", "vae, tanh"),
        ("pretransform", {"type": "dac_pretrained", "config": {}}, "`model.pretransform.config.pretransform`"),
        ("latent_dim", None, "'absent'"),
        ("decoder.config", None, "`model.pretransform.config.decoder.config` is 'absent'"),
    ],
)
def test_parts_of_an_autoencoder_are_chosen_from_what_is_supported(plain_config, path, value, named):
    with pytest.raises(UserError, match=named):
        StableAudioModel(change(plain_config, f"model.pretransform.config.{path}", value))


def test_what_stable_audio_tools_does_not_take_is_explained(tiny_config):
    with pytest.raises(UserError, match="does not describe a conditioned diffusion model"):
        StableAudioModel(change(tiny_config, "model.pretransform.config", {"no_such_option": 1}))


@pytest.mark.parametrize("objective", ["rf_denoiser", "rectified_flow"])
def test_the_objective_is_the_configurations(tiny_config, tiny_model, objective):
    model = StableAudioModel(change(tiny_config, "model.diffusion.diffusion_objective", objective))
    assert (tiny_model.objective.name, model.objective.name) == ("v", "rectified_flow")


@pytest.mark.parametrize("sample_size", [16384, 16384 + 2047])
def test_the_longest_clip_ends_with_the_last_whole_latent(tiny_config, sample_size):
    model = StableAudioModel({**tiny_config, "sample_size": sample_size})
    assert model.latent_shape == (96, 8)
    assert round(model.max_seconds * 16000) == 16384


def test_a_text_encoder_or_its_dtype_is_refused_where_there_is_no_t5(tiny_config, tmp_path):
    with pytest.raises(UserError, match=r"`text_dtype` is float32, but this model has no T5"):
        StableAudioModel(tiny_config, text_dtype="float32")
    with pytest.raises(UserError, match=r"`models.<name>.text_encoder` is .* this model has no T5"):
        StableAudioModel(tiny_config, tmp_path)


def test_our_modules_join_the_network_of_the_schema(tiny_config):
    before = json.dumps(tiny_config)
    network = build_network(tiny_config)
    assert json.dumps(tiny_config) == before
    assert type(network.pretransform).__name__ == "MelPcaPretransform"
    assert set(network.conditioner.conditioners) == {"prompt", "seconds_start", "seconds_total"}
    assert network.min_input_length == 2048  # samples of one latent frame: 256 a hop, 8 hops a patch


@pytest.fixture
def denoise(tiny_model):
    latents = torch.randn(1, *tiny_model.latent_shape, generator=torch.Generator().manual_seed(3))

    def run(caption="a dog barks", seconds=4.096, sigma=5.0, cfg_scale=1.0, start=0.0):
        conditioning = tiny_model.condition([caption], [seconds], start)
        with torch.inference_mode():
            return tiny_model.denoise(latents * sigma, torch.full((1,), sigma), conditioning, cfg_scale)

    return run


@pytest.mark.parametrize(
    "changed",
    [{"caption": "rain falls"}, {"seconds": 2.0}, {"start": 1.0}, {"cfg_scale": 4.0}, {"caption": "dog a barks"}],
)
def test_every_condition_changes_the_output(denoise, changed):
    plain, other = denoise(), denoise(**changed)
    # Far beyond float32 rounding (1e-7 relative).
    assert (plain - other).norm() > 1e-4 * plain.norm()


def test_words_outside_the_vocabulary_change_nothing_and_are_named(denoise, tiny_model):
    assert torch.equal(denoise("a Dog barks!"), denoise("a xylophonist dog barks, zyzzyva"))
    assert tiny_model.dropped_words("a xylophonist dog barks, zyzzyva") == ["xylophonist", "zyzzyva"]


def test_guidance_extrapolates_from_the_empty_prompt(denoise):
    # With cross-attention conditioning replaced by zeros (u) and the caption's (c), the v that is used is u + scale (c - u):
    # linear in the scale, so three scales determine each other.
    one, two, four = (denoise(cfg_scale=scale) for scale in (1.0, 2.0, 4.0))
    torch.testing.assert_close(four - one, 3 * (two - one), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sigma", [0.3, 5.0, 80.0])
def test_denoising_follows_the_v_objective(tiny_model, sigma):
    conditioning = tiny_model.condition(["rain falls"], [4.096])
    noisy = sigma * torch.randn(1, *tiny_model.latent_shape, generator=torch.Generator().manual_seed(1))
    angle = math.atan(sigma)
    with torch.inference_mode():
        v = tiny_model.network.model(
            noisy * math.cos(angle), torch.tensor([angle * 2 / math.pi]), cfg_scale=1.0, **conditioning
        )
        denoised = tiny_model.denoise(noisy, torch.tensor([sigma]), conditioning, 1.0)
    # x = alpha z - sigma' v for the variance-preserving z = cos(angle) noisy (Salimans & Ho 2022, appendix D).
    expected = math.cos(angle) * (math.cos(angle) * noisy) - math.sin(angle) * v
    torch.testing.assert_close(denoised, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("sigma", [0.3, 1.0, 80.0, 500.0])
def test_listeners_hear_the_noise_level_until_they_are_removed(tiny_model, sigma):
    heard = []
    remove = tiny_model.add_step_listener(heard.append)
    conditioning = tiny_model.condition(["rain"], [4.096])
    latents = torch.zeros(1, *tiny_model.latent_shape)
    with torch.inference_mode():
        tiny_model.denoise(latents, torch.tensor([sigma]), conditioning, 3.0)
        remove()
        tiny_model.denoise(latents, torch.tensor([sigma]), conditioning, 3.0)
    assert heard == [torch.tensor(sigma).item()]


@pytest.mark.skipif(not MINI.is_dir(), reason="models/mini is not there")
def test_the_shipped_model_is_within_its_size():
    assert sum(path.stat().st_size for path in MINI.iterdir()) <= 30e6
    assert read_model_config(MINI)["model_type"] == "diffusion_cond"
