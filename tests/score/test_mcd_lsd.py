from dataclasses import replace

import numpy as np
import pytest

from audioptq.score.lsd import lsd_db
from audioptq.score.mcd import DISTANCES, mcd_db, mcd_dtw_db
from audioptq.score.spectra import CepstralSettings, ClipPair, _hz_to_mel, mel_cepstra

SETTINGS = CepstralSettings.for_sample_rate(16000)
METRICS = [mcd_db, mcd_dtw_db, lsd_db]


def noise(seed: int, n_samples: int = 8000, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((channels, n_samples))


@pytest.mark.parametrize("metric", METRICS)
def test_identity_is_exactly_zero(metric) -> None:
    assert metric(target=noise(0), generated=noise(0), settings=SETTINGS) == 0.0


@pytest.mark.parametrize("gain_db", [-6.0, -0.5, 3.0, 12.0])
def test_gain_leaves_mcd_at_zero_and_is_the_lsd(gain_db: float) -> None:
    # White noise has all its bins within 80 dB of its maximum but for rare zeros; the tolerance covers those.
    pair = {"target": noise(0), "generated": noise(0) * 10 ** (gain_db / 20), "settings": SETTINGS}
    assert mcd_db(**pair) == pytest.approx(0, abs=1e-9)
    assert mcd_dtw_db(**pair) == pytest.approx(0, abs=1e-9)
    assert lsd_db(**pair) == pytest.approx(abs(gain_db), rel=1e-4)


def mel_levels_db(levels_db: np.ndarray) -> ClipPair:
    """A pair of clips of one frame whose mel bands have these levels, `[2, n_mels]`, in place of what their audio has."""
    pair = ClipPair(target=noise(0, SETTINGS.window), generated=noise(1, SETTINGS.window), settings=SETTINGS)
    cepstra = (mel_cepstra(levels[None, None], SETTINGS.n_cepstra) for levels in levels_db)
    pair.__dict__["cepstra"] = tuple(cepstra)  # what the cached property would hold
    return pair


def smooth_levels(seed: int) -> np.ndarray:
    """Levels in dB over the mel bands made of cosines 1 to 13 alone, which the cepstra keep whole."""
    amplitudes = np.random.default_rng(seed).normal(0, 4, 13)
    position = np.pi * (np.arange(SETTINGS.n_mels) + 0.5) / SETTINGS.n_mels
    return amplitudes @ np.cos(np.arange(1, 14)[:, None] * position)


@pytest.mark.parametrize("metric", ["mcd_db", "mcd_dtw_db"])
def test_it_is_the_rms_difference_in_level(metric) -> None:
    # Of spectra that differ by what the cepstra keep, MCD is the root of the mean square over the bands, in dB; a change of
    # all levels alike is c_0, which does not count.
    levels = np.stack([smooth_levels(1), smooth_levels(2)])
    expected = np.sqrt(np.mean((levels[0] - levels[1]) ** 2))
    value, _ = DISTANCES[metric](mel_levels_db(levels + np.array([[0.0], [7.0]])))
    assert value == pytest.approx(expected, rel=1e-12)


def test_a_tilt_has_its_analytic_value() -> None:
    # 6 dB cos(w): the RMS over w is 6 / sqrt(2) = 4.2426, and so is SPTK's distance of mcep.
    position = np.pi * (np.arange(SETTINGS.n_mels) + 0.5) / SETTINGS.n_mels
    value, _ = DISTANCES["mcd_db"](mel_levels_db(np.stack([0 * position, 6.0 * np.cos(position)])))
    assert value == pytest.approx(6.0 / np.sqrt(2), rel=1e-12)


def test_constant_is_that_of_an_independent_cepstrum() -> None:
    # c_d of ln|X(w)| = c_0 + sum c_d cos(d w) by their integral, (2 / pi) int ln|X| cos(d w) dw, on a grid of its own that is
    # twenty times as fine as the bands; then the published formula, 10 / ln 10 sqrt(2 sum dc^2).
    fine = np.pi * (np.arange(20 * SETTINGS.n_mels) + 0.5) / (20 * SETTINGS.n_mels)
    coarse = np.pi * (np.arange(SETTINGS.n_mels) + 0.5) / SETTINGS.n_mels

    def spectra(place: np.ndarray) -> np.ndarray:
        """Natural logarithms of two magnitudes, resonances at 0.3 pi and 0.6 pi."""
        return np.stack([np.exp(-8 * (place - peak * np.pi) ** 2) for peak in (0.3, 0.6)])

    orders = np.arange(1, SETTINGS.n_cepstra + 1)[:, None]
    cepstra = 2 * np.mean(spectra(fine)[:, None] * np.cos(orders * fine), axis=2)
    expected = 10 / np.log(10) * np.sqrt(2 * np.sum((cepstra[0] - cepstra[1]) ** 2))
    value, _ = DISTANCES["mcd_db"](mel_levels_db(20 / np.log(10) * spectra(coarse)))
    assert value == pytest.approx(expected, rel=1e-3)  # the bands' grid against the fine one


def test_tilted_audio_has_about_the_analytic_value() -> None:
    # The same tilt applied to noise by a filter: bands average a little over their width, hence 5 %.
    audio = noise(5, 16000)
    hz = np.fft.rfftfreq(16000, 1 / 16000)
    position = np.array([_hz_to_mel(value) for value in hz]) / _hz_to_mel(8000)
    gain = 10 ** (6.0 * np.cos(np.pi * position) / 20)
    tilted = np.fft.irfft(np.fft.rfft(audio) * gain, n=16000)
    assert mcd_db(target=audio, generated=tilted, settings=SETTINGS) == pytest.approx(6.0 / np.sqrt(2), rel=0.05)


def test_it_lies_on_the_scale_of_lsd() -> None:
    # The same smooth filter seen by both measures: LSD over linear frequency, MCD over mel, hence only about.
    audio = noise(5, 16000)
    hz = np.fft.rfftfreq(16000, 1 / 16000)
    gain = 10 ** (6.0 * np.cos(2 * np.pi * hz / 8000) / 20)
    pair = {"target": audio, "generated": np.fft.irfft(np.fft.rfft(audio) * gain, n=16000), "settings": SETTINGS}
    assert 0.6 < mcd_db(**pair) / lsd_db(**pair) < 1.4


@pytest.mark.parametrize("metric", METRICS)
def test_symmetric_above_the_floor(metric) -> None:
    forward = metric(target=noise(1), generated=noise(2), settings=SETTINGS)
    backward = metric(target=noise(2), generated=noise(1), settings=SETTINGS)
    # The floor follows the target's maximum; a few bins of noise lie near it.
    assert forward == pytest.approx(backward, rel=1e-3)
    assert forward > 0.5


def test_alignment_never_raises_mcd_and_undoes_a_shift() -> None:
    for seed in range(5):
        pair = {"target": noise(seed), "generated": noise(seed + 100), "settings": SETTINGS}
        # Independent noise aligns best as it is: then both are one sum in two orders, equal up to rounding.
        assert mcd_dtw_db(**pair) <= mcd_db(**pair) * (1 + 1e-12)
    # Bursts that come 30 ms late: frames differ, aligned frames hardly do.
    audio = noise(9, 16000) * (np.sin(np.arange(16000) / 700) > 0.3)
    pair = {"target": audio, "generated": np.roll(audio, 3 * SETTINGS.hop, axis=1), "settings": SETTINGS}
    value, numbers = DISTANCES["mcd_dtw_db"](ClipPair(**pair))
    assert value < 0.1 * mcd_db(**pair)
    assert 0 < numbers["dtw_path_penalty"] < 0.2


def test_alignment_stays_in_its_band() -> None:
    # A burst 0.75 s late is beyond the half second allowed, and within reach of a band of one second.
    burst = noise(9, 32000) * (np.arange(32000) // 1600 == 4)
    pair = {"target": burst, "generated": np.roll(burst, 12000, axis=1)}
    wide = mcd_dtw_db(**pair, settings=replace(SETTINGS, dtw_seconds=1.0))
    assert wide == pytest.approx(0, abs=1e-9)
    assert mcd_dtw_db(**pair, settings=SETTINGS) > 0.05


@pytest.mark.parametrize("metric", METRICS)
def test_dual_mono_equals_mono_and_stereo_is_the_mean_of_channels(metric) -> None:
    target, generated = noise(3), noise(4)
    mono = metric(target=target, generated=generated, settings=SETTINGS)
    flat = metric(target=target[0], generated=generated[0], settings=SETTINGS)
    dual = metric(target=np.tile(target, (2, 1)), generated=np.tile(generated, (2, 1)), settings=SETTINGS)
    assert flat == mono
    assert dual == pytest.approx(mono, rel=1e-12)
    half = metric(target=np.tile(target, (2, 1)), generated=np.concatenate([target, generated]), settings=SETTINGS)
    assert half == pytest.approx(mono / 2, rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_what_lies_below_the_floor_does_not_count(metric) -> None:
    burst = noise(6) * (np.arange(8000) < 4000)
    hiss = 1e-7 * noise(7)  # 140 dB below the burst
    value = metric(target=burst, generated=burst + hiss, settings=SETTINGS)
    assert value == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_a_silent_output_is_a_number_and_a_silent_target_is_refused(metric) -> None:
    assert np.isfinite(metric(target=noise(0), generated=np.zeros((1, 8000)), settings=SETTINGS))
    with pytest.raises(ValueError, match="silent"):
        metric(target=np.zeros((1, 8000)), generated=noise(0), settings=SETTINGS)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("generated", "message"),
    [
        (np.ones((1, 7999)), "channels, samples"),
        (np.ones((2, 8000)), "channels, samples"),
        (np.full((1, 8000), np.nan), "not finite"),
    ],
    ids=["length", "channels", "not a number"],
)
def test_bad_input_raises(metric, generated: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(target=noise(0), generated=generated, settings=SETTINGS)


@pytest.mark.parametrize("metric", METRICS)
def test_a_clip_shorter_than_a_window_is_refused(metric) -> None:
    with pytest.raises(ValueError, match="shorter than a window"):
        metric(target=noise(0, 100), generated=noise(0, 100), settings=SETTINGS)
