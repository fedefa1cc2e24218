"""VGGish's frontend is Google's, written again here number by number; its network is torchvggish's, without the last rectifier."""

import cmath
import math

import numpy as np
import pytest
import torch
from torch import nn

from audioptq.embed import vggish
from audioptq.errors import DamagedArtifactError

RATE_HZ = 16000


@pytest.fixture(scope="module")
def files(published):
    return published("vggish")


@pytest.fixture(scope="module")
def evaluator(files):
    return vggish.load(files, "vggish")


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(n_samples) / 10).astype(np.float32)


def mel(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)


def weight(band: int, hz: float) -> float:
    """Of a frequency in a band: triangles over mel (any multiple of it, so that 2595 log10 does as well as 1127 ln)."""
    low, centre, high = (mel(125) + (mel(7500) - mel(125)) * (band + step) / 65 for step in range(3))
    return 0.0 if hz == 0 else max(0.0, min((mel(hz) - low) / (centre - low), (high - mel(hz)) / (high - centre)))


def log_mel_by_definition(frame: np.ndarray, bands: list[int]) -> list[float]:
    """Of 400 samples: periodic Hann window, Fourier sum over 512 places, filters on magnitudes, natural logarithm."""
    windowed = [0.5 * (1 - math.cos(2 * math.pi * n / 400)) * float(sample) for n, sample in enumerate(frame)]
    magnitudes = [
        abs(sum(value * cmath.exp(-2j * math.pi * k * n / 512) for n, value in enumerate(windowed))) for k in range(257)
    ]
    return [
        math.log(sum(weight(band, 8000 * k / 256) * magnitude for k, magnitude in enumerate(magnitudes)) + 0.01)
        for band in bands
    ]


def test_frontend_by_definition():
    samples = noise(2 * 15360 + 240)
    examples = vggish.log_mel_examples(samples)
    assert examples.shape == (2, 1, 96, 64)
    bands = [0, 1, 17, 40, 63]
    for example, frame in ((0, 0), (0, 95), (1, 3)):
        start = 160 * (96 * example + frame)
        expected = log_mel_by_definition(samples[start : start + 400], bands)
        np.testing.assert_allclose(examples[example, 0, frame, bands], expected, rtol=1e-6)  # stored as float32


@pytest.mark.parametrize(
    ("n_samples", "n_examples"), [(160000, 10), (15600, 1), (30959, 1), (30960, 2), (15599, 1), (400, 1), (0, 1)]
)
def test_number_of_examples(n_samples, n_examples):
    """One every 0.96 s, 0.975 s long; shorter clips are padded to one, the rest at the end is not heard."""
    assert len(vggish.log_mel_examples(noise(n_samples))) == n_examples


def test_short_clips_are_padded_with_zeros():
    short = noise(5000)
    np.testing.assert_array_equal(vggish.log_mel_examples(short), vggish.log_mel_examples(np.pad(short, (0, 10600))))


def torchvggish() -> tuple[nn.Sequential, nn.Sequential]:
    """harritaylor/torchvggish's layers, one by one."""
    features = nn.Sequential(
        *(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2)),
        *(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2)),
        *(
            nn.Conv2d(128, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
        ),
        *(
            nn.Conv2d(256, 512, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(512, 512, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
        ),
    )
    linear = (nn.Linear(12288, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128), nn.ReLU())
    return features, nn.Sequential(*linear)


@torch.inference_mode()
def test_network_is_torchvggish_without_its_last_rectifier(files, evaluator):
    features, embeddings = torchvggish()
    nn.ModuleDict({"features": features, "embeddings": embeddings}).load_state_dict(torch.load(files["vggish"]))
    samples = noise(32000)
    # As torchvggish turns the axes to TensorFlow's order before it flattens them.
    turned = torch.transpose(torch.transpose(features(torch.from_numpy(vggish.log_mel_examples(samples))), 1, 3), 1, 2)
    flat = turned.contiguous().view(2, -1)
    expected = nn.Sequential(*list(embeddings.children())[:-1])(
        flat
    )  # frechet_audio_distance/fad.py, use_activation=False
    found = evaluator.embed([(samples[None], RATE_HZ)])[0]["windows"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (found < 0).any()
    torch.testing.assert_close(found.relu(), embeddings(flat), rtol=1e-5, atol=1e-5)


def test_clips_are_mixed_to_mono_and_resampled_by_resampy(evaluator):
    import resampy

    stereo = np.stack([noise(44100, seed=1), noise(44100, seed=2)])
    by_hand = resampy.resample(stereo.mean(axis=0), 44100, RATE_HZ)
    found, expected = evaluator.embed([(stereo, 44100), (by_hand[None], RATE_HZ)])
    assert torch.equal(found["windows"], expected["windows"])


def test_a_clip_does_not_depend_on_its_company_or_on_chunks(evaluator, monkeypatch):
    clips = [(noise(32000, seed=seed)[None], RATE_HZ) for seed in range(2)]
    together = evaluator.embed(clips)
    for clip, found in zip(clips, together, strict=True):
        assert torch.equal(evaluator.embed([clip])[0]["windows"], found["windows"])
    monkeypatch.setattr(vggish, "CHUNK_EXAMPLES", 1)
    torch.testing.assert_close(evaluator.embed(clips)[1]["windows"], together[1]["windows"], rtol=1e-4, atol=1e-4)


def test_self_test_accepts_the_network_and_refuses_one_that_hears_nothing(evaluator):
    evaluator.self_test()
    weight = evaluator.network.embeddings[4].weight
    kept = weight.clone()
    weight.zero_()
    try:
        with pytest.raises(DamagedArtifactError, match="vggish failed its self-test: windows is the same for a tone"):
            evaluator.self_test()
    finally:
        weight.copy_(kept)


def test_damaged_files_are_refused(tmp_path, files):
    from published_evaluators.damaged import torch_files

    for path in torch_files(files["vggish"], tmp_path):
        with pytest.raises(DamagedArtifactError, match=path.name):
            vggish.load({"vggish": path}, "vggish")
    assert not (tmp_path / "trace").exists()
