"""The v objective, the times it is drawn at, and what training leaves on disk."""

import math
from types import SimpleNamespace

import pytest
import torch

from audioptq.embed.clap_mini import ClapMini
from audioptq.embed.tagger_mini import TaggerMini
from audioptq.errors import DamagedArtifactError
from audioptq.files.artifacts import read_json, read_tensors, write_tensors, write_text
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.soundscapes import CLASSES, VOCABULARY
from audioptq.train import dit
from audioptq.train.corpus import Corpus, synthesise_shard
from audioptq.train.dit import draw_times, train_dit, v_loss
from audioptq.train.evaluators import augment, label_targets, train_clap, train_tagger
from audioptq.train.loop import TrainSettings
from audioptq.train.publish import load_trained, publish

SETTINGS = TrainSettings(steps=2, batch_size=4, learning_rate=1e-3)


class Predictor:
    """A network that knows the clean latents, and so the exact v of any noised ones."""

    def __init__(self, latents, offset):
        self.latents, self.offset, self.seen = latents, offset, []

    def conditioner(self, conditioning, _device):
        return conditioning

    def get_conditioning_inputs(self, conditioning):
        return {"conditioning": conditioning}

    def model(self, noised, times, **options):
        self.seen.append((times, options))
        angle = (times.double() * math.pi / 2)[:, None, None]
        noise = (noised - angle.cos() * self.latents) / angle.sin()
        return angle.cos() * noise - angle.sin() * self.latents + self.offset


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_the_loss_of_an_exact_predictor_is_zero(offset):
    torch.manual_seed(1)
    latents = torch.randn(64, 3, 5, dtype=torch.float64)
    predictor = Predictor(latents, offset)
    conditioning = [{"prompt": "rain"}] * 64
    # The loss takes its sines and cosines in float32 (6e-8), the predictor in float64.
    assert float(v_loss(predictor, latents, conditioning)) == pytest.approx(offset**2, abs=1e-7)
    _, options = predictor.seen[0]
    assert options["cfg_dropout_prob"] == dit.CFG_DROPOUT
    assert options["conditioning"] is conditioning


def test_times_lie_within_bounds_and_favour_the_levels_where_text_acts():
    torch.manual_seed(0)
    times = draw_times(20000)
    assert 0 <= times.min() < times.max() < 1
    sigma = torch.tan(times * math.pi / 2)
    inside = ((sigma >= 0.08) & (sigma <= 150)).float().mean()
    # 80 % by construction, and of the uniform fifth those with t between 0.051 and 0.996; the deviation is 0.2 %.
    assert float(inside) == pytest.approx(0.8 + 0.2 * 0.945, abs=0.01)
    decades = torch.histc(sigma.log10(), bins=3, min=-1, max=2) / len(sigma)
    assert decades.min() > 0.8 / math.log10(150 / 0.08) * 0.95


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "shard-0.safetensors"
    synthesise_shard(path, split="train", first=0, n_clips=12, seed=3)
    return Corpus.load([path])


@pytest.fixture(scope="module")
def trained(corpus, tiny_config, tmp_path_factory):
    """Two steps of each training; returns the files."""
    folder = tmp_path_factory.mktemp("train")
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dit, "mini_config", lambda: tiny_config)
        patch.setenv("AUDIOPTQ_DEVICE", "cpu")
        for name, function in (("dit", train_dit), ("tagger", train_tagger), ("clap", train_clap)):
            function(corpus, folder / name, folder / f"{name}.pt", SETTINGS, lines.append)
    return SimpleNamespace(lines=lines, **{name: folder / name for name in ("dit", "tagger", "clap")})


def test_training_fits_the_pretransform_and_writes_half_precision(trained, corpus, tiny_config):
    tensors, metadata = read_tensors(trained.dit)
    assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} == {torch.float16}
    assert metadata["model_config"] == tiny_config
    assert 0.5 < metadata["explained_variance"] <= 1
    assert f"{metadata['explained_variance']:.2%}" in trained.lines[0]
    mean = corpus.log_mel.float().unflatten(1, (-1, 8)).flatten(2).flatten(0, 1).mean(0)
    torch.testing.assert_close(tensors["pretransform.mean"].float(), mean, rtol=2e-3, atol=0.02)


def test_training_changes_the_weights(trained, tiny_config):
    torch.manual_seed(SETTINGS.seed)
    start = StableAudioModel(tiny_config).network.state_dict()
    tensors, _ = read_tensors(trained.dit)
    moved = {name for name, tensor in start.items() if not torch.equal(tensors[name], tensor.half())}
    assert any(name.startswith("model.") for name in moved)
    assert any(name.startswith("pretransform.") for name in moved)


def test_what_is_published_loads_as_a_model_directory(trained, tmp_path):
    write_text(tmp_path / "card.json", '{"n_clips": 3}\n')
    write_text(tmp_path / "card.md", "# mini\n")
    directory = tmp_path / "models" / "mini"
    publish(
        trained.dit,
        trained.tagger,
        trained.clap,
        card=tmp_path / "card.json",
        page=tmp_path / "card.md",
        directory=directory,
    )
    names = {
        "model_config.json",
        "model.safetensors",
        "tagger_mini.safetensors",
        "clap_mini.safetensors",
        "card.json",
        "card.md",
    }
    assert {path.name for path in directory.iterdir()} == names
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {
        (directory / "card.md").stat().st_mode & 0o777
    }
    assert read_json(directory / "card.json", foreign=True) == {"n_clips": 3}
    published = StableAudioModel.load(directory)
    together = load_trained(trained.dit, directory / "tagger_mini.safetensors", directory / "clap_mini.safetensors")
    state = together.model.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in published.network.state_dict().items())
    assert isinstance(together.tagger, TaggerMini)
    assert isinstance(together.clap, ClapMini)
    assert together.tagger.classify.out_features == len(CLASSES)
    assert together.clap.text_encoder.tokenizer.dropped(VOCABULARY[0]) == []


def test_swapped_files_are_refused(trained):
    with pytest.raises(DamagedArtifactError, match="does not hold the evaluator tagger_mini"):
        load_trained(trained.dit, trained.clap, trained.tagger)


def test_labels_share_a_clips_probability():
    first, second = CLASSES[0], CLASSES[5]
    targets = label_targets([first, f"{second}|{first}", second])
    torch.testing.assert_close(targets.sum(1), torch.ones(3))
    assert targets[0, 0] == targets[2, 5] == 1
    assert targets[1, [0, 5]].tolist() == [0.5, 0.5]


def test_augmentation_crops_in_time_and_keeps_the_bands(corpus):
    torch.manual_seed(0)
    lengths = set()
    for _ in range(20):
        heard = augment(corpus.log_mel[:2])
        assert heard.shape[::2] == (2, 64)
        assert torch.isfinite(heard).all()
        lengths.add(heard.shape[1])
    assert 64 <= min(lengths) < max(lengths) <= corpus.log_mel.shape[1]


def test_a_damaged_training_file_is_named(tmp_path):
    write_tensors(tmp_path / "dit", {"a": torch.ones(3)}, {})
    (tmp_path / "dit").write_bytes((tmp_path / "dit").read_bytes()[:-4])
    with pytest.raises(DamagedArtifactError, match="dit cannot be read"):
        load_trained(tmp_path / "dit", tmp_path / "dit", tmp_path / "dit")
