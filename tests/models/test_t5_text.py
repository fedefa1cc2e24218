"""The T5 conditioner is stable-audio-tools' own, from a directory; files that are not one T5 are refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from stable_audio_tools.models.conditioners import T5Conditioner
from tokenizers import Tokenizer

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.models.stable_audio.files import read_model_config
from audioptq.models.stable_audio.t5_text import T5TextConditioner

CAPTIONS = ["a dog barks", "rain falls on the water, and a man speaks", "", "Ω"]


@pytest.fixture
def t5(published, tmp_path):
    return shutil.copytree(published / "t5", tmp_path / "t5")


@pytest.fixture
def theirs(published, monkeypatch):
    """stable-audio-tools' conditioner on the same directory: a path is a name if its lists have it."""
    name = str(published / "t5")
    monkeypatch.setattr(T5Conditioner, "T5_MODELS", [*T5Conditioner.T5_MODELS, name])
    monkeypatch.setattr(T5Conditioner, "T5_MODEL_DIMS", T5Conditioner.T5_MODEL_DIMS | {name: 32})

    def build(output_dim, **options):
        torch.manual_seed(6)
        return T5Conditioner(output_dim, name, **options)

    return build


def ours(directory, output_dim=32, **options):
    return T5TextConditioner(output_dim, directory, t5_model_name="t5-random", **options)


@pytest.mark.parametrize(("output_dim", "project_out"), [(32, False), (32, True), (48, False)])
@pytest.mark.parametrize("max_length", [128, 5])
def test_it_computes_what_stable_audio_tools_computes(published, theirs, output_dim, project_out, max_length):
    reference = theirs(output_dim, max_length=max_length, project_out=project_out)
    conditioner = ours(published / "t5", output_dim, max_length=max_length, project_out=project_out)
    assert conditioner.state_dict().keys() == reference.state_dict().keys()  # proj_out alone, where there is one
    conditioner.load_state_dict(reference.state_dict())
    with torch.inference_mode():
        expected, expected_mask = reference(CAPTIONS, "cpu")
        hidden, mask = conditioner(CAPTIONS, "cpu")
    assert torch.equal(hidden, expected)
    assert hidden.dtype == expected.dtype == torch.float32
    assert torch.equal(mask, expected_mask)
    assert hidden.shape == (4, max_length, output_dim)
    assert not hidden[~mask].any()
    assert (hidden[0] - hidden[1]).norm() > 0.1 * hidden[0].norm()


def test_float32_is_near_float16_and_not_equal(published):
    half, single = (ours(published / "t5", dtype=dtype)(CAPTIONS, "cpu")[0] for dtype in ("float16", "float32"))
    # float16 rounds to 5e-4 of each number, and two layers add up a few of those.
    assert 1e-5 < (half - single).norm() / single.norm() < 5e-3
    assert torch.equal(ours(published / "t5")(CAPTIONS, "cpu")[0], half)


def test_the_tokenizer_is_that_of_tokenizer_json(published):
    tokenizer, _ = ours(published / "t5").load()
    plain = Tokenizer.from_file(str(published / "t5" / "tokenizer.json"))
    for caption in CAPTIONS:
        assert tokenizer(caption)["input_ids"] == plain.encode(caption).ids
    assert tokenizer("a dog barks")["input_ids"][-1] == 1


def test_words_that_t5_never_hears_are_those_behind_the_cut_and_those_in_unknown_letters(published):
    conditioner = ours(published / "t5", max_length=4)
    assert conditioner.dropped("a dog barks") == []
    assert conditioner.dropped("a dog barks rain falls") == ["rain", "falls"]
    assert conditioner.dropped("a Ω") == ["Ω"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_files_are_named(t5, name):
    (t5 / name).unlink()
    with pytest.raises(DamagedArtifactError, match=rf"has no {name}: .* `models.<name>.text_encoder`") as caught:
        ours(t5)
    assert str(t5) in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2]"])
def test_damaged_files_are_named(t5, name, content):
    (t5 / name).write_bytes(content)
    with pytest.raises(DamagedArtifactError, match=name.split(".")[0]) as caught:
        ours(t5).load()
    assert str(t5) in str(caught.value)


def test_a_tokenizer_of_another_size_is_refused(t5, published_model):
    published_model.write_tokenizer(t5, 300)
    with pytest.raises(DamagedArtifactError, match=r"has 300 tokens, its tokenizer.json lists 300, .* embeds 256"):
        ours(t5).load()


def test_a_tokenizer_that_ignores_its_file_is_refused(t5, monkeypatch):
    from transformers import AutoTokenizer, T5Tokenizer

    monkeypatch.setattr(
        AutoTokenizer, "from_pretrained", lambda *_args, **_options: T5Tokenizer()
    )  # transformers' fallback
    with pytest.raises(DamagedArtifactError, match=r"has 104 tokens, its tokenizer.json lists 256"):
        ours(t5).load()


def test_an_encoder_that_lacks_tensors_is_refused(t5):
    tensors = load_file(t5 / "model.safetensors")
    del tensors["encoder.block.1.layer.1.DenseReluDense.wo.weight"]
    save_file(tensors, t5 / "model.safetensors")
    with pytest.raises(DamagedArtifactError, match=r"lacks encoder.block.1.layer.1.DenseReluDense.wo.weight"):
        ours(t5).load()


def test_pickled_weights_are_not_read(t5):
    tensors = load_file(t5 / "model.safetensors")
    torch.save(tensors, t5 / "pytorch_model.bin")
    (t5 / "model.safetensors").unlink()
    with pytest.raises(DamagedArtifactError, match=r"no model\.safetensors"):
        ours(t5)


def test_a_t5_of_another_width_than_the_model_was_trained_with_is_refused(t5):
    with pytest.raises(UserError, match=r"trained with t5-base, which is 768 wide, but the T5 in .* is 32 wide"):
        T5TextConditioner(768, t5)


def test_a_t5_that_was_trained_along_is_refused(t5):
    with pytest.raises(UserError, match="enable_grad"):
        ours(t5, enable_grad=True)


def test_without_a_t5_the_model_loads_and_names_the_key_at_its_first_caption(published):
    model = StableAudioModel.load(published / "model")
    assert [site.name for site in model.sites()]
    for use in (
        model.require_text_encoder,
        lambda: model.condition(["rain"], [1.0]),
        lambda: model.dropped_words("rain"),
    ):
        with pytest.raises(UserError, match=r"set `models\.<name>\.text_encoder`"):
            use()
    StableAudioModel.load(published / "model", published / "t5").require_text_encoder()


def test_the_dtype_reaches_the_conditioning(published):
    config = read_model_config(published / "model")
    assert json.dumps(config)  # a plain record
    hidden = {}
    for dtype in (None, "float16", "float32"):
        model = StableAudioModel.load(published / "model", published / "t5", dtype)
        hidden[dtype] = model.condition(["a dog barks"], [10.0])["cross_attn_cond"]
    assert torch.equal(hidden[None], hidden["float16"])
    assert not torch.equal(hidden["float16"], hidden["float32"])
