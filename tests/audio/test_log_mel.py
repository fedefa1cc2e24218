"""The log-mel analysis: an independent filter bank, and levels with a meaning."""

import math

import librosa
import numpy as np
import pytest
import torch

from audioptq.audio.log_mel import POWER_FLOOR, LogMel, mel_filters

DECIBELS = 10 / math.log(10)  # of a natural logarithm of power


@pytest.mark.parametrize(("sample_rate", "n_fft", "n_mels"), [(16000, 1024, 64), (44100, 2048, 128), (8000, 512, 20)])
def test_the_filters_are_librosas_up_to_their_sums(sample_rate, n_fft, n_mels):
    ours = mel_filters(sample_rate, n_fft, n_mels).numpy()
    theirs = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, htk=False, norm=None).T
    np.testing.assert_allclose(ours, theirs / theirs.sum(0), atol=1e-6)
    np.testing.assert_allclose(ours.sum(0), 1, rtol=1e-6)


def test_silence_is_the_floor():
    frames = LogMel(16000)(torch.zeros(2, 4096))
    assert frames.shape == (2, 16, 64)
    assert torch.equal(frames, torch.full_like(frames, POWER_FLOOR).log())


@pytest.mark.parametrize("hz", [250.0, 1000.0, 3000.0])
def test_a_full_scale_sine_is_near_zero_decibels_in_its_band(sine, hz):
    level = LogMel(16000)(torch.from_numpy(sine(hz, level=1.0)).float())[0, 4:-4] * DECIBELS
    band = int(level.mean(0).argmax())
    filters = mel_filters(16000, 1024, 64)
    assert band in filters[round(hz / 16000 * 1024)].topk(2).indices
    # A band averages the power of its bins: the sine's main lobe (1.5 bins of power) is shared among up to 16 of them.
    assert -12 < level[:, band].min() <= level[:, band].max() < 1


def test_levels_follow_the_amplitude_and_end_at_the_floor(sine):
    audio = torch.from_numpy(sine(700.0, level=1.0)).float()
    analyse = LogMel(16000)
    loud, soft = analyse(audio)[0, 4:-4], analyse(audio / 100)[0, 4:-4]
    band = int(loud.mean(0).argmax())
    np.testing.assert_allclose((loud - soft)[:, band] * DECIBELS, 40, atol=0.01)
    assert soft.min() == pytest.approx(math.log(POWER_FLOOR))


def test_frames_follow_the_sound_in_time():
    audio = torch.zeros(1, 8192)
    audio[0, 5000] = 1.0
    energy = LogMel(16000)(audio)[0].mean(1)
    assert int(energy.argmax()) == pytest.approx(5000 / 256, abs=1)
    far = [index for index in range(32) if abs(index * 256 - 5000) > 512]
    assert torch.equal(energy[far], torch.full_like(energy[far], energy.min()))
