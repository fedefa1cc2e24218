"""LAION-CLAP: the vectors of its own package, from the same files, without a hub."""

import gc
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import soundfile
import torch

from audioptq.embed.clap_laion import NETWORKS, SAMPLES, ClapLaion, load, prepare
from audioptq.embed.clap_network import ROBERTA_BASE, read_network, read_tokenizer
from audioptq.embed.prepare import peak_normalise
from audioptq.errors import DamagedArtifactError, UserError

pytestmark = pytest.mark.slow  # the networks take seconds to build, and half a gigabyte each
FUSION, MUSIC = "630k-audioset-fusion-best", "music_audioset_epoch_15"
RATE = 48000
CAPTIONS = ["a dog barks", "Hello world", "rain falls while thunder rumbles; far away, someone plays a cello"]


def noise(seconds, sample_rate=RATE, channels=1, seed=0):
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, (channels, round(seconds * sample_rate)))
    return samples.astype(np.float32)


@pytest.fixture(scope="module")
def evaluator(published):
    return load(published("clap"), FUSION)


@pytest.fixture(scope="module")
def tokenizer(published):
    files = published("clap")
    return read_tokenizer(files["roberta_vocab"], files["roberta_merges"])


@pytest.fixture
def package(monkeypatch):
    """`package(checkpoint, tokenizer, ...)`: laion_clap's public module, kept from asking a hub for roberta-base."""
    import laion_clap
    import transformers

    geometry = transformers.RobertaConfig(**ROBERTA_BASE)
    random_roberta = SimpleNamespace(from_pretrained=lambda name: transformers.RobertaModel(geometry))
    monkeypatch.setattr(sys.modules["clap_module"].model, "RobertaModel", random_roberta)

    def build(checkpoint, tokenizer, **settings):
        model = laion_clap.CLAP_Module(device="cpu", **settings)
        model.load_ckpt(str(checkpoint), verbose=False)
        model.tokenize = tokenizer
        return model

    yield build
    gc.collect()


def assert_same_direction(found, expected):
    """float32 rounding: batches and libraries sum in other orders."""
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


# First, before the other checkpoint is in memory too.
def test_the_music_checkpoint_gives_the_vectors_of_laion_clap(package, published, tokenizer):
    name = "clap_music_audioset_epoch_15"
    files = published("clap", file=name)
    sounds = [noise(10), noise(3, seed=1)]
    evaluator = load(files, MUSIC)
    evaluator.self_test()
    found = torch.stack([row["audio"] for row in evaluator.embed([(sound, RATE) for sound in sounds])])
    text = evaluator.embed_text(CAPTIONS)
    del evaluator
    gc.collect()
    theirs = package(files[name], tokenizer, amodel="HTSAT-base")
    assert_same_direction(found, theirs.get_audio_embedding_from_data([peak_normalise(sound[0]) for sound in sounds]))
    assert_same_direction(text, theirs.get_text_embedding(CAPTIONS))


def test_vectors_are_those_of_laion_clap(evaluator, package, published, tokenizer):
    theirs = package(published("clap")["clap_630k_audioset_fusion_best"], tokenizer, enable_fusion=True)
    sounds = [noise(10), noise(3, seed=1), noise(7.3, seed=2)]
    expected = [theirs.get_audio_embedding_from_data([peak_normalise(sound[0])]) for sound in sounds]
    found = evaluator.embed([(sound, RATE) for sound in sounds])
    for row, vector in zip(found, expected, strict=True):
        assert_same_direction(row["audio"][None], vector)
    assert_same_direction(evaluator.embed_text(CAPTIONS), theirs.get_text_embedding(CAPTIONS))


def test_files_of_44100_hz_meet_what_stable_audio_metrics_computes(evaluator, package, published, tokenizer, tmp_path):
    # librosa pads ten seconds to 480001 samples at 48 kHz, where the exact product is 480000: laion_clap then still takes the
    # whole clip, and one frame of 1001 hears one sample more of silence.
    theirs = package(published("clap")["clap_630k_audioset_fusion_best"], tokenizer, enable_fusion=True)
    clip = noise(10, 44100, channels=2)
    soundfile.write(tmp_path / "clip.wav", clip.T, 44100, subtype="FLOAT")
    audio, _ = librosa.load(tmp_path / "clip.wav", sr=RATE, mono=True)
    expected = theirs.get_audio_embedding_from_data([peak_normalise(audio)])
    (found,) = evaluator.embed([(clip, 44100)])
    assert float(found["audio"] @ torch.from_numpy(expected[0])) == pytest.approx(1, abs=1e-5)


def test_vectors_have_length_one_and_are_the_same_every_time(evaluator):
    clips = [(noise(seconds, seed=index), RATE) for index, seconds in enumerate((10, 3, 0.2))]
    together = evaluator.embed(clips)
    for clip, row in zip(clips, together, strict=True):
        (alone,) = evaluator.embed([clip])
        assert alone["audio"].shape == (512,)
        assert float(alone["audio"].norm()) == pytest.approx(1, abs=1e-5)
        torch.testing.assert_close(row["audio"], alone["audio"], rtol=1e-4, atol=1e-5)


def test_short_clips_are_repeated_as_often_as_they_fit_then_padded():
    clip = noise(3)
    samples = prepare(clip, RATE)
    assert len(samples) == SAMPLES
    assert np.array_equal(samples[: 3 * RATE], samples[6 * RATE : 9 * RATE])
    assert not samples[9 * RATE :].any()
    # -1 dBFS, then 16 bits, cut off towards zero
    assert np.abs(samples).max() == np.float32(int(10 ** (-1 / 20) * 32767) / 32767)
    assert np.allclose(np.round(samples * 32767), samples * 32767, atol=1e-2)


@pytest.mark.parametrize("samples", [SAMPLES + 1, 0])
def test_clips_that_are_too_long_or_empty_are_refused(evaluator, samples):
    with pytest.raises(UserError, match=r"at most 10 s, and one lasts (10\.000|0\.000) s.*seconds_total"):
        evaluator.embed([(np.ones((2, samples), dtype=np.float32), RATE)])


def test_ten_seconds_of_any_usual_rate_are_accepted():
    for rate in (8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000):
        assert len(prepare(noise(10, rate), rate)) == SAMPLES


def test_silence_gives_finite_vectors(evaluator):
    (row,) = evaluator.embed([(np.zeros((2, 44100), dtype=np.float32), 44100)])
    assert row["audio"].isfinite().all()


def test_captions_are_padded_and_cut_to_77_tokens(evaluator):
    long = "a " * 60  # two tokens a word in the made-up vocabulary, and one at either end
    vectors = evaluator.embed_text([long, long + "dog", "a"])
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.allclose(vectors[0], vectors[2], atol=1e-3)
    alone = evaluator.embed_text(["a"])[0]
    torch.testing.assert_close(vectors[2], alone, rtol=1e-4, atol=1e-5)


def test_dropped_words_are_those_that_were_cut(evaluator):
    assert evaluator.dropped_words("Hello world") == 0
    assert evaluator.dropped_words("x" * 75) == 0
    assert evaluator.dropped_words("x" * 76) == 1  # a word that is cut is not what the caption says
    assert evaluator.dropped_words("x" * 75 + " barks twice") == 2


def test_the_self_test_passes_and_catches_a_network_that_does_not_listen(evaluator):
    evaluator.self_test()

    class Deaf(torch.nn.Module):
        enable_fusion = False

        def get_audio_embedding(self, batch):
            return torch.full((len(batch), 512), 512**-0.5)

    audio = {"sample_rate": RATE}
    with pytest.raises(DamagedArtifactError, match="the same for a tone and for noise"):
        ClapLaion(Deaf(), audio, None, "cpu").self_test()


def test_importing_asks_no_hub():
    code = (
        "import socket, sys\n"
        "def refuse(*args, **settings): raise SystemExit('a hub was asked')\n"
        "socket.getaddrinfo = refuse\n"
        "from audioptq.embed.clap_network import _clap_module\n"
        "before = list(sys.path)\n"
        "_clap_module()\n"
        "assert sys.path == before and 'laion_clap' not in sys.modules\n"
    )
    online = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run([sys.executable, "-c", code], env=online, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def other_vocabulary(files, folder):
    tokens = json.loads(files["roberta_vocab"].read_text(encoding="utf-8"))
    (folder / "vocab.json").write_text(json.dumps(dict(list(tokens.items())[:400])), encoding="utf-8")
    return {"roberta_vocab": folder / "vocab.json"}


def no_merges(files, folder):
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return {"roberta_merges": folder / "merges.txt"}


def merges_of_other_words(files, folder):
    (folder / "merges.txt").write_text("#version: 0.2\nx y\n", encoding="utf-8")
    return {"roberta_merges": folder / "merges.txt"}


@pytest.mark.parametrize("damage", [other_vocabulary, no_merges, merges_of_other_words], ids=lambda f: f.__name__)
def test_another_tokenizer_is_refused(published, tmp_path, damage):
    files = published("clap") | damage(published("clap"), tmp_path)
    with pytest.raises(DamagedArtifactError, match=re.escape(str(tmp_path))):
        read_tokenizer(files["roberta_vocab"], files["roberta_merges"])


@pytest.mark.parametrize("found", [{"module.logit_scale_a": torch.tensor(1.0)}, 3], ids=["one tensor", "a number"])
def test_a_checkpoint_of_another_network_is_refused(tmp_path, monkeypatch, found):
    monkeypatch.setattr("audioptq.embed.clap_network.build_network", lambda variant: (torch.nn.Linear(2, 2), {}))
    path = tmp_path / "other.pt"
    torch.save({"state_dict": found}, path)
    with pytest.raises(DamagedArtifactError, match=r"other\.pt is not LAION-CLAP's HTSAT-tiny with fusion: "):
        read_network(path, NETWORKS[FUSION])
