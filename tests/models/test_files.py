"""Model directories are read whole or refused by name, in the layouts in which they are published."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import write_json, write_tensors
from audioptq.models import registry
from audioptq.models.registry import folder_of
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.models.stable_audio.files import load_weights, read_model_config, tensor_shapes, weights_file
from audioptq.models.stable_audio.sites import block_linears

NAME = "model.model.preprocess_conv.weight"


@pytest.fixture
def directory(published, tmp_path):
    return shutil.copytree(published / "model", tmp_path / "model")


@pytest.fixture(scope="module")
def tensors(published):
    return load_file(published / "model" / "model.safetensors")


@pytest.fixture
def checkpoint(directory):
    """Puts a `model.ckpt` of this content in the place of the directory's weights."""

    def write(content):
        (directory / "model.safetensors").unlink(missing_ok=True)
        torch.save(content, directory / "model.ckpt")
        return directory

    return write


def assert_holds(directory, tensors):
    state = StableAudioModel.load(directory).network.state_dict()
    assert state.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(state[name], tensor), name


def test_a_published_directory_gives_exactly_its_tensors(directory, tensors):
    assert_holds(directory, tensors)


def test_nothing_is_drawn_and_the_file_is_let_go(directory, tensors):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    network = StableAudioModel.load(directory).network
    # Sixteen numbers of Fourier features and the like are drawn outside torch.nn.init; the big layers would move the state far.
    drawn = torch.get_rng_state()
    torch.set_rng_state(before)
    StableAudioModel(read_model_config(directory), initialise=False)
    assert torch.equal(torch.get_rng_state(), drawn)
    (directory / "model.safetensors").write_bytes(bytes(1000))
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_in_16_bits_are_computed_with_in_float32(published_model, tmp_path, dtype):
    published_model.publish_stable_audio(tmp_path, dtype=dtype)
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {getattr(torch, dtype)}
    assert_holds(tmp_path, {name: tensor.float() for name, tensor in stored.items()})
    assert {p.dtype for p in StableAudioModel.load(tmp_path).network.parameters()} == {torch.float32}


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_checkpoint_is_read_like_safetensors(checkpoint, tensors, wrapped):
    directory = checkpoint({"state_dict": tensors, "epoch": 3} if wrapped else tensors)
    assert_holds(directory, tensors)
    shapes = tensor_shapes(directory / "model.ckpt")
    assert shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert len(block_linears(weights_file(directory))) == 2 * 7


def test_safetensors_come_before_a_checkpoint(directory):
    (directory / "model.ckpt").write_bytes(b"never read")
    assert weights_file(directory).name == "model.safetensors"
    StableAudioModel.load(directory)
    with pytest.raises(DamagedArtifactError, match=r"model\.ckpt cannot be read"):  # unless it is asked for
        StableAudioModel.load(directory, weights=directory / "model.ckpt")


def test_a_training_checkpoint_gives_the_averaged_denoiser(checkpoint, tensors):
    inner = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    trained = {f"diffusion.{name}": tensor for name, tensor in tensors.items()}
    averaged = {f"diffusion_ema.ema_model.{name}": tensor + 1 for name, tensor in inner.items()}
    rest = {
        "diffusion_ema.initted": torch.ones(()),
        "diffusion_ema.step": torch.ones(()),
        "losses.0.weight": torch.ones(1),
    }
    expected = {name: tensor + name.startswith("model.") for name, tensor in tensors.items()}
    assert_holds(checkpoint({"state_dict": trained | averaged | rest}), expected)
    assert_holds(checkpoint({"state_dict": trained}), tensors)
    with pytest.raises(DamagedArtifactError, match=r"has beyond it 1 \(discriminator\.weight\)"):
        StableAudioModel.load(checkpoint({"state_dict": trained | {"discriminator.weight": torch.ones(1)}}))


class Callback:
    """Something that a training script might pickle."""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {}, "callback": Callback()}, ["pickled Python objects", "save_file", "model.safetensors"]),
        ({"state_dict": [1, 2]}, ["no `state_dict` of tensors"]),
        ({"state_dict": {"a": 3}}, ["no `state_dict` of tensors"]),
        ([1], ["no `state_dict` of tensors"]),
        ({"state_dict": {"a": torch.ones(1)}}, ["does not fit its configuration", "lacks", "has beyond it 1 (a)"]),
    ],
    ids=["code", "list", "numbers", "no table", "another model"],
)
def test_checkpoints_that_are_no_model_are_named(checkpoint, content, words):
    directory = checkpoint(content)
    with pytest.raises(DamagedArtifactError) as caught:
        StableAudioModel.load(directory)
    for word in [str(directory / "model.ckpt"), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_checkpoint_that_is_cut_off_is_named(checkpoint, tensors, share):
    path = checkpoint({"state_dict": tensors}) / "model.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DamagedArtifactError, match=r"model\.ckpt cannot be read"):
        StableAudioModel.load(path.parent)


def test_what_does_not_fit_is_listed_by_kind_and_not_in_full(directory, tensors):
    encoder = "pretransform.model.encoder."
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(encoder)}
    write_tensors(directory / "model.safetensors", kept | {NAME: torch.ones(2), "ema.step": torch.ones(1)}, {})
    n_lacking = len(tensors) - len(kept)
    with pytest.raises(DamagedArtifactError) as caught:
        StableAudioModel.load(directory)
    text = str(caught.value)
    assert f"of the {len(tensors)} tensors" in text
    assert f"lacks {n_lacking} ({encoder}" in text
    assert f"has beyond it 1 (ema.step), has in another shape 1 ({NAME})" in text
    assert len(text) < 800


def test_a_network_can_be_filled_twice(published, tensors):
    network = StableAudioModel(read_model_config(published / "model")).network
    for _ in range(2):
        load_weights(network, published / "model" / "model.safetensors")
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network.state_dict().items())


def test_diffusers_layout_is_refused_with_the_files_to_take(tmp_path):
    write_json(tmp_path / "model_index.json", {"_class_name": "StableAudioPipeline"})
    (tmp_path / "transformer").mkdir()
    with pytest.raises(
        UserError, match=r"diffusers' layout .* take model_config\.json and model\.safetensors of the same"
    ) as caught:
        StableAudioModel.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_whole_repository_with_both_layouts_is_read(directory):
    write_json(directory / "model_index.json", {"_class_name": "StableAudioPipeline"})
    StableAudioModel.load(directory)
    (directory / "model.safetensors").unlink()
    with pytest.raises(UserError, match="diffusers' layout"):
        StableAudioModel.load(directory)


def test_an_empty_directory_and_one_without_weights_say_what_is_missing(tmp_path, tiny_config):
    with pytest.raises(UserError, match=r"no readable model_config\.json"):
        StableAudioModel.load(tmp_path)
    (tmp_path / "model_config.json").write_text(json.dumps(tiny_config))
    with pytest.raises(DamagedArtifactError, match=r"neither model\.safetensors nor model\.ckpt"):
        StableAudioModel.load(tmp_path)


def test_the_folder_of_no_files_is_none():
    assert folder_of([]) is None
    assert folder_of(None) is None
    assert str(folder_of(["a/b/config.json", "a/b/tokenizer.json"])) == "a/b"


def test_a_directory_of_two_families_is_refused(monkeypatch, tmp_path):
    class Every:
        @staticmethod
        def recognises(folder):
            return True

    monkeypatch.setattr(registry, "families", lambda: {"one": tmp_path, "two": tmp_path})
    monkeypatch.setattr(registry, "_family", lambda name: Every)
    with pytest.raises(UserError, match=r"files of 2 families \(one, two\)"):
        registry.family_of(tmp_path)
