"""PaSST: the windows and logits of stable-audio-metrics, by hear21passt's own loader and wrapper."""

import shutil

import librosa
import numpy as np
import pytest
import soundfile
import torch

from audioptq.embed.passt import STEP, WINDOW, Passt, load, windows
from audioptq.embed.prepare import peak_normalise
from audioptq.errors import DamagedArtifactError, UserError

VARIANT = "passt-s-swa-p16-128-ap476"
RATE = 32000


def noise(seconds, sample_rate=RATE, channels=1, seed=0):
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, (channels, round(seconds * sample_rate)))
    return samples.astype(np.float32)


@pytest.fixture(scope="module")
def evaluator(published):
    return load(published("passt"), VARIANT)


@pytest.fixture(scope="module")
def theirs(published, tmp_path_factory):
    """hear21passt's own network, which reads the same file from where torch.hub would have put it."""
    from hear21passt.base import get_basic_model

    hub = tmp_path_factory.mktemp("hub")
    (hub / "checkpoints").mkdir()
    path = published("passt")["passt"]
    (hub / "checkpoints" / path.name).symlink_to(path)
    usual = torch.hub.get_dir()
    torch.hub.set_dir(hub)
    try:
        yield get_basic_model(mode="logits").eval()
    finally:
        torch.hub.set_dir(usual)
        shutil.rmtree(hub)


@pytest.mark.parametrize(
    ("seconds", "count"),
    [(1.6, 1), (10, 1), (10.031, 2), (15, 2), (15.001, 3), (47, 9)],
    ids=str,
)
def test_windows_are_counted_as_published(seconds, count):
    found = list(windows(noise(seconds), RATE))
    assert [len(window) for window in found] == [WINDOW] * count


def test_windows_overlap_by_half_and_the_last_is_padded_with_silence():
    audio = peak_normalise(noise(12)[0])
    first, second = windows(noise(12), RATE)
    assert np.array_equal(first, audio[:WINDOW])
    assert np.array_equal(second[: 7 * RATE], audio[STEP:])
    assert not second[7 * RATE :].any()


def test_clips_of_one_and_a_half_seconds_are_not_padded():
    assert [len(window) for window in windows(noise(1.5), RATE)] == [1.5 * RATE]


def test_clips_are_mixed_down_then_resampled_then_brought_to_the_peak(tmp_path):
    stereo = noise(3, 44100, channels=2)
    soundfile.write(tmp_path / "clip.wav", stereo.T, 44100, subtype="FLOAT")
    loaded, _ = librosa.load(tmp_path / "clip.wav", sr=RATE, mono=True)
    (window,) = windows(stereo, 44100)
    assert np.abs(window).max() == pytest.approx(10 ** (-1 / 20), rel=1e-6)
    # float32 rounding of the mean over channels
    np.testing.assert_allclose(window[: len(loaded)], loaded * np.abs(window).max() / np.abs(loaded).max(), atol=1e-6)


@pytest.mark.slow
def test_logits_of_a_window_are_those_of_hear21passt(evaluator, theirs):
    padded, short = peak_normalise(noise(2, seed=3)[0]), peak_normalise(noise(1, seed=4)[0])
    with torch.no_grad():
        expected = [
            theirs(torch.from_numpy(window)[None])[0] for window in (np.pad(padded, (0, WINDOW - len(padded))), short)
        ]
    found = evaluator.embed([(noise(2, seed=3), RATE), (noise(1, seed=4), RATE)])
    for row, logits in zip(found, expected, strict=True):
        torch.testing.assert_close(row["logits"], logits, rtol=1e-4, atol=1e-5)  # float32 rounding
    assert (expected[0] - expected[1]).abs().max() > 1e-3  # the padding matters


def test_logits_of_a_clip_are_the_mean_over_its_windows():
    class Marker(torch.nn.Module):
        def forward(self, audio):
            return torch.stack([audio[:, 0], audio[:, -1]], dim=1)

    clips = [(noise(seconds, seed=index), RATE) for index, seconds in enumerate((47, 1, 10, 12))]
    for clip, row in zip(clips, Passt(Marker(), "cpu").embed(clips), strict=True):
        ends = np.array([(window[0], window[-1]) for window in windows(*clip)])
        np.testing.assert_allclose(row["logits"], ends.mean(0), rtol=1e-5, atol=1e-6)


def test_neighbours_in_a_batch_change_nothing(evaluator):
    clips = [(noise(seconds, seed=index), RATE) for index, seconds in enumerate((1.0, 0.7, 1.0, 1.0))]
    together = evaluator.embed(clips)
    for clip, row in zip(clips, together, strict=True):
        (alone,) = evaluator.embed([clip])
        assert alone["logits"].shape == (527,)
        torch.testing.assert_close(row["logits"], alone["logits"], rtol=1e-4, atol=1e-5)


def test_the_random_state_does_not_matter(evaluator):
    clip = (noise(1), RATE)
    torch.manual_seed(1)
    (first,) = evaluator.embed([clip])
    torch.manual_seed(2)
    assert torch.equal(evaluator.embed([clip])[0]["logits"], first["logits"])


def test_silence_gives_finite_logits(evaluator):
    (row,) = evaluator.embed([(np.zeros((2, RATE), dtype=np.float32), RATE)])
    assert row["logits"].isfinite().all()


def test_nothing_is_printed(evaluator, capsys):
    evaluator.embed([(noise(1), RATE)])
    assert capsys.readouterr() == ("", "")


def test_clips_too_short_for_a_patch_are_refused(evaluator):
    assert evaluator.embed([(noise(4801 / RATE), RATE)])[0]["logits"].isfinite().all()
    with pytest.raises(UserError, match=r"at least 0\.15 s"):
        evaluator.embed([(noise(4800 / RATE), RATE)])


def test_the_self_test_passes_and_catches_a_deaf_network(evaluator):
    evaluator.self_test()

    class Deaf(torch.nn.Module):
        def forward(self, audio):
            return torch.ones(len(audio), 527)

    with pytest.raises(DamagedArtifactError, match="the same for a tone and for noise"):
        Passt(Deaf(), "cpu").self_test()


@pytest.mark.parametrize("damage", ["a tensor is missing", "cut off"])
def test_other_weights_are_refused(published, tmp_path, damage):
    state = torch.load(published("passt")["passt"], weights_only=True, mmap=True)
    path = tmp_path / "other.pt"
    torch.save({key: state[key] for key in state if not key.startswith(("blocks.1", "head_dist"))}, path)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DamagedArtifactError, match=r"other\.pt"):
        load({"passt": path}, VARIANT)
