"""Short-time spectra and mel cepstra in decibels, with every parameter pinned to the sample rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
LOWEST_SAMPLE_RATE_HZ = 8000


@dataclass(frozen=True)
class CepstralSettings:
    """Parameters of MCD and LSD.

    They are those of `for_sample_rate`: at 44.1 kHz an FFT of 2048 samples (46 ms), a Hann window of 1411 (32 ms), a
    hop of 441 (10 ms) and 80 mel bands; at other rates the same durations. Values depend on all of them, so that only
    values made with equal settings compare.

    Attributes:
        sample_rate_hz: Sample rate.
        n_fft: FFT length in samples; the window is zero-padded to it.
        window: Hann window in samples.
        hop: Hop in samples.
        n_mels: Mel bands between 0 and half the sample rate.
        n_cepstra: Cepstral coefficients c_1 to c_D that are compared; c_0, the level, is not.
        floor_db: Floor in dB relative to the maximum of the target clip.
        dtw_seconds: Half width of the Sakoe-Chiba band.
    """

    sample_rate_hz: int
    n_fft: int
    window: int
    hop: int
    n_mels: int
    n_cepstra: int = 13
    floor_db: float = -80.0
    dtw_seconds: float = 0.5

    @classmethod
    def for_sample_rate(cls, sample_rate_hz: int) -> "CepstralSettings":
        """Settings of this project at a sample rate.

        Example:
            >>> settings = CepstralSettings.for_sample_rate(44100)
            >>> settings.n_fft, settings.window, settings.hop, settings.n_mels, settings.dtw_frames
            (2048, 1411, 441, 80, 50)

        Raises:
            ValueError: If the rate is below 8 kHz, where mel bands would hold no FFT bin.
        """
        if sample_rate_hz < LOWEST_SAMPLE_RATE_HZ:
            raise ValueError(f"the sample rate must be at least {LOWEST_SAMPLE_RATE_HZ} Hz, not {sample_rate_hz}")
        return cls(
            sample_rate_hz,
            n_fft=2 * round(1024 * sample_rate_hz / 44100),
            window=round(0.032 * sample_rate_hz),
            hop=round(0.010 * sample_rate_hz),
            n_mels=80 if sample_rate_hz >= 32000 else 64,
        )

    @property
    def dtw_frames(self) -> int:
        """Half width of the Sakoe-Chiba band in frames."""
        return round(self.dtw_seconds * self.sample_rate_hz / self.hop)


def power_spectrogram(audio: FloatArray, settings: CepstralSettings) -> FloatArray:
    """Power spectrogram with a periodic Hann window, without padding at the ends.

    Args:
        audio: `[channels, samples]`.
        settings: Window, hop and FFT length.

    Returns:
        `[channels, frames, n_fft / 2 + 1]` with `frames = 1 + (samples - window) // hop`.
    """
    frames = np.lib.stride_tricks.sliding_window_view(audio, settings.window, axis=-1)[:, :: settings.hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.window) / settings.window)
    spectrum = np.fft.rfft(frames * window, n=settings.n_fft)
    return np.asarray(spectrum.real**2 + spectrum.imag**2, dtype=np.float64)


def to_db(power: FloatArray, *, maximum: float, floor_db: float) -> FloatArray:
    """`10 log10 max(power, maximum * 10^(floor_db / 10))`: decibels with a floor relative to `maximum`."""
    return np.asarray(10 * np.log10(np.maximum(power, maximum * 10 ** (floor_db / 10))), dtype=np.float64)


@lru_cache(maxsize=8)
def mel_filterbank(settings: CepstralSettings) -> FloatArray:
    """Triangular mel filters of equal area `[n_mels, n_fft / 2 + 1]`, from 0 to half the sample rate.

    Source: Slaney 1998, Auditory Toolbox; equal to `librosa.filters.mel` with its defaults, which is not imported here
    because its compiled dependencies take seconds to load.
    """
    top = _hz_to_mel(settings.sample_rate_hz / 2)
    edges = _mel_to_hz(np.linspace(0, top, settings.n_mels + 2))
    bins = np.fft.rfftfreq(settings.n_fft, 1 / settings.sample_rate_hz)
    width = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / width[:-1]
    falling = (edges[2:, None] - bins) / width[1:]
    area = 2 / (edges[2:] - edges[:-2])
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None) * area[:, None], dtype=np.float64)


def mel_cepstra(mel_db: FloatArray, n_cepstra: int) -> FloatArray:
    """Cepstral coefficients 1 to D: the orthonormal DCT-II of a mel spectrogram in dB, without c_0.

    `C_d = sqrt(2 / M) sum_m x_m cos(pi d (m + 1/2) / M)`

    Args:
        mel_db: `[..., n_mels]`.
        n_cepstra: D, below n_mels.

    Returns:
        `[..., n_cepstra]`.
    """
    n_mels = mel_db.shape[-1]
    order, band = np.arange(1, n_cepstra + 1)[:, None], np.arange(n_mels)
    basis = np.sqrt(2 / n_mels) * np.cos(np.pi * order * (band + 0.5) / n_mels)
    return np.asarray(mel_db @ basis.T, dtype=np.float64)


class ClipPair:
    """Two clips and what their measures share, each computed once and only when it is asked for.

    Args:
        target: Full precision's audio `[channels, samples]` or `[samples]`, before any gain.
        generated: The recipe's audio of the same clip, same shape.
        settings: Sample rate and analysis.

    Raises:
        ValueError: If shapes differ, a clip is shorter than a window, a sample is not finite, or the target is silent.
    """

    def __init__(self, *, target: FloatArray, generated: FloatArray, settings: CepstralSettings) -> None:
        target, generated = np.atleast_2d(np.asarray(target, float)), np.atleast_2d(np.asarray(generated, float))
        if target.ndim != 2 or target.shape != generated.shape:
            raise ValueError(f"target {target.shape} and generated {generated.shape} must both be [channels, samples]")
        if target.shape[1] < settings.window:
            raise ValueError(f"a clip of {target.shape[1]} samples is shorter than a window of {settings.window}")
        if not (np.isfinite(target).all() and np.isfinite(generated).all()):
            raise ValueError("a sample is not finite")
        if not target.any():
            raise ValueError("the target is silent: the floor is relative to its maximum")
        self.audio, self.settings = (target, generated), settings

    @cached_property
    def powers(self) -> tuple[FloatArray, FloatArray]:
        """Power spectrograms of target and generated, `[channels, frames, n_fft / 2 + 1]`."""
        target, generated = (power_spectrogram(audio, self.settings) for audio in self.audio)
        return target, generated

    def levels(self, powers: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Powers of target and generated in dB; both have the target's floor, below which levels do not count."""
        maximum = float(powers[0].max())
        target, generated = (to_db(power, maximum=maximum, floor_db=self.settings.floor_db) for power in powers)
        return target, generated

    @cached_property
    def cepstra(self) -> tuple[FloatArray, FloatArray]:
        """Mel cepstra of target and generated, `[channels, frames, n_cepstra]`."""
        filters = mel_filterbank(self.settings).T
        levels = self.levels([power @ filters for power in self.powers])
        target, generated = (mel_cepstra(level, self.settings.n_cepstra) for level in levels)
        return target, generated


# Slaney's mel scale: linear to 1 kHz (15 mel), then 27 mel per factor of 6.4.
def _hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


def _mel_to_hz(mel: FloatArray) -> FloatArray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
