"""CNN14 is the network of frechet-audio-distance, whose own score is not to be had."""

import numpy as np
import pytest
import torch

from audioptq.embed import pann
from audioptq.errors import DamagedArtifactError

RATE_HZ = 16000


@pytest.fixture(scope="module")
def files(published):
    return published("pann")


@pytest.fixture(scope="module")
def evaluator(files):
    return pann.load(files, "cnn14-16k")


@pytest.fixture(scope="module")
def package(evaluator):
    """frechet-audio-distance in its `pann` mode, with our weights; built without its constructor, which downloads."""
    from frechet_audio_distance import FrechetAudioDistance
    from frechet_audio_distance.models.pann import Cnn14_16k

    found = FrechetAudioDistance.__new__(FrechetAudioDistance)
    found.model_name, found.sample_rate, found.channels, found.verbose, found.audio_load_worker = (
        "pann",
        RATE_HZ,
        1,
        False,
        1,
    )
    found.device = torch.device("cpu")
    found.model = Cnn14_16k(RATE_HZ, 512, 160, 64, 50, 8000, 527).eval()
    found.model.load_state_dict(evaluator.network.state_dict())
    return found


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(n_samples) / 10).astype(np.float32)


@pytest.mark.slow
@torch.inference_mode()
def test_embedding_is_the_packages(package, evaluator):
    for n_samples in (pann.SHORTEST_SAMPLES, 32001):
        samples = noise(n_samples)
        expected = package.model(torch.from_numpy(samples)[None], None)["embedding"]
        torch.testing.assert_close(
            evaluator.embed([(samples[None], RATE_HZ)])[0]["windows"], expected, rtol=1e-5, atol=1e-6
        )


@pytest.mark.slow
def test_the_package_itself_returns_minus_one(package, tmp_path, capsys):
    """If this fails, the package was mended, and `audioptq.embed.pann` can be compared with its score."""
    import soundfile

    for folder in ("background", "evaluated"):
        (tmp_path / folder).mkdir()
        for seed in range(3):
            soundfile.write(tmp_path / folder / f"{seed}.wav", noise(16000, seed), RATE_HZ)
    assert package.score(str(tmp_path / "background"), str(tmp_path / "evaluated")) == -1
    assert "not enough values to unpack" in capsys.readouterr().out


def test_one_window_per_clip_whatever_its_length(evaluator):
    for n_samples in (1, 4959, 4960, 40000):
        assert evaluator.embed([(noise(n_samples)[None], RATE_HZ)])[0]["windows"].shape == (1, 2048)


def test_short_clips_are_padded_with_zeros(evaluator):
    short = noise(1000)
    found, padded = evaluator.embed([(short[None], RATE_HZ), (np.pad(short, (0, 3960))[None], RATE_HZ)])
    assert torch.equal(found["windows"], padded["windows"])


def test_clips_are_mixed_to_mono_and_resampled_by_resampy(evaluator):
    import resampy

    stereo = np.stack([noise(44100, seed=1), noise(44100, seed=2)])
    by_hand = resampy.resample(stereo.mean(axis=0), 44100, RATE_HZ)
    found, expected = evaluator.embed([(stereo, 44100), (by_hand[None], RATE_HZ)])
    assert torch.equal(found["windows"], expected["windows"])


def test_a_clip_does_not_depend_on_its_company(evaluator):
    clips = [(noise(16000 + 160 * seed, seed=seed)[None], RATE_HZ) for seed in range(3)]
    for clip, found in zip(clips, evaluator.embed(clips), strict=True):
        assert torch.equal(evaluator.embed([clip])[0]["windows"], found["windows"])


def test_self_test_accepts_the_network_and_refuses_one_that_hears_nothing(evaluator):
    evaluator.self_test()
    weight = evaluator.network.fc1.weight
    kept = weight.clone()
    weight.zero_()
    try:
        with pytest.raises(DamagedArtifactError, match="pann failed its self-test: windows is the same for a tone"):
            evaluator.self_test()
    finally:
        weight.copy_(kept)


def test_damaged_files_are_refused(tmp_path, files):
    from published_evaluators.damaged import torch_files

    for path in torch_files(files["cnn14_16k"], tmp_path):
        with pytest.raises(DamagedArtifactError, match=path.name):
            pann.load({"cnn14_16k": path}, "cnn14-16k")
    assert not (tmp_path / "trace").exists()


def test_network_of_another_sample_rate_is_refused(tmp_path, evaluator):
    """CNN14 for 32 kHz has the same layers and longer Fourier kernels."""
    state = evaluator.network.state_dict()
    state["spectrogram_extractor.stft.conv_real.weight"] = torch.ones(513, 1, 1024)
    torch.save(
        {"model": {key: value for key, value in state.items() if value.numel() < 1 << 20}}, tmp_path / "cnn14.pth"
    )
    with pytest.raises(DamagedArtifactError, match=r"cnn14\.pth.*of another shape \(spectrogram_extractor"):
        pann.load({"cnn14_16k": tmp_path / "cnn14.pth"}, "cnn14-16k")
