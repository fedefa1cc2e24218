import numpy as np
import pytest
from scipy.fft import dct

from audioptq.score.spectra import CepstralSettings, mel_cepstra, mel_filterbank, power_spectrogram, to_db

RATES = [8000, 16000, 22050, 32000, 44100, 48000]


@pytest.mark.parametrize("rate", RATES)
def test_durations_are_the_same_at_every_rate(rate: int) -> None:
    settings = CepstralSettings.for_sample_rate(rate)
    assert settings.n_fft / rate == pytest.approx(0.0464, rel=0.01)
    assert settings.window / rate == pytest.approx(0.032, rel=0.01)
    assert settings.hop / rate == pytest.approx(0.010, rel=0.01)
    assert settings.dtw_frames in (49, 50)
    assert settings.window <= settings.n_fft


def test_sixteen_kilohertz_has_64_bands_and_too_low_a_rate_is_refused() -> None:
    assert CepstralSettings.for_sample_rate(16000).n_mels == 64
    with pytest.raises(ValueError, match="at least 8000 Hz"):
        CepstralSettings.for_sample_rate(4000)


@pytest.mark.parametrize("rate", RATES)
def test_filterbank_is_librosas_and_no_band_is_empty(rate: int) -> None:
    filters = pytest.importorskip("librosa.filters")
    settings = CepstralSettings.for_sample_rate(rate)
    ours = mel_filterbank(settings)
    theirs = filters.mel(sr=rate, n_fft=settings.n_fft, n_mels=settings.n_mels, dtype=np.float64)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert (ours.sum(axis=1) > 0).all()


def test_spectrogram_is_that_of_librosa() -> None:
    spectrum = pytest.importorskip("librosa.core.spectrum")
    settings = CepstralSettings.for_sample_rate(16000)
    audio = np.random.default_rng(0).standard_normal((2, 4000))
    ours = power_spectrogram(audio, settings)
    assert ours.shape == (2, 1 + (4000 - settings.window) // settings.hop, settings.n_fft // 2 + 1)
    # librosa frames whole FFT lengths with the window in their middle: pad so that windows fall on the same samples.
    side = (settings.n_fft - settings.window) // 2
    padded = np.pad(audio, ((0, 0), (side, settings.n_fft - settings.window - side)))
    theirs = np.abs(
        spectrum.stft(padded, n_fft=settings.n_fft, win_length=settings.window, hop_length=settings.hop, center=False)
    )
    np.testing.assert_allclose(ours, theirs.transpose(0, 2, 1) ** 2, rtol=1e-9, atol=1e-9)


def test_cepstra_are_the_orthonormal_dct_without_level() -> None:
    mel_db = np.random.default_rng(1).standard_normal((3, 7, 64))
    np.testing.assert_allclose(mel_cepstra(mel_db, 13), dct(mel_db, norm="ortho")[..., 1:14], atol=1e-12)
    np.testing.assert_allclose(mel_cepstra(mel_db + 20.0, 13), mel_cepstra(mel_db, 13), atol=1e-12)


def test_decibels_stop_at_the_floor() -> None:
    np.testing.assert_allclose(to_db(np.array([0.0, 1e-9, 1.0, 100.0]), maximum=10.0, floor_db=-80), [-70, -70, 0, 20])
