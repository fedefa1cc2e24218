"""Integrated loudness by ITU-R BS.1770-4, and the gain that brings clips to one loudness without clipping them."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter, resample_poly

FloatArray = NDArray[np.float64]

BLOCK_SECONDS, OVERLAP = 0.4, 0.75
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0
OFFSET_DB = -0.691
# Analogue prototypes of BS.1770's two filters: from them come its published coefficients at 48 kHz, and those of any other rate.
PUBLISHED_RATE = 48_000
SHELF_HZ, SHELF_DB, SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
HIGH_PASS_HZ, HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773
SHELF_MIDDLE = 0.4996667741545416  # the exponent that places the shelf's middle gain


def k_weighting(sample_rate: int) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
    """Coefficients `(b, a)` of BS.1770's shelf and of its high-pass at a sample rate, by the bilinear transform.

    Args:
        sample_rate: Hz.
    """
    k = math.tan(math.pi * SHELF_HZ / sample_rate)
    high = 10 ** (SHELF_DB / 20)
    middle = high**SHELF_MIDDLE
    a0 = 1 + k / SHELF_Q + k * k
    shelf = (
        np.array([high + middle * k / SHELF_Q + k * k, 2 * (k * k - high), high - middle * k / SHELF_Q + k * k]) / a0,
        np.array([a0, 2 * (k * k - 1), 1 - k / SHELF_Q + k * k]) / a0,
    )
    k, published = (math.tan(math.pi * HIGH_PASS_HZ / rate) for rate in (sample_rate, PUBLISHED_RATE))
    a0, published_a0 = (1 + each / HIGH_PASS_Q + each * each for each in (k, published))
    # The published numerator is 1, -2, 1 at 48 kHz; at other rates it is scaled so that what passes has the same level.
    high_pass = (
        np.array([1.0, -2.0, 1.0]) * published_a0 / a0,
        np.array([a0, 2 * (k * k - 1), 1 - k / HIGH_PASS_Q + k * k]) / a0,
    )
    return shelf, high_pass


def integrated_loudness(audio: NDArray[np.floating], sample_rate: int) -> float:
    """Gated loudness of mono or stereo audio in LUFS, by ITU-R BS.1770-4; minus infinity if all of it is below -70 LUFS.

    Audio shorter than a block of 400 ms, of which the recommendation says nothing, is one block.

    Args:
        audio: `[channels, samples]`, full scale is 1; one or two channels, each of weight 1.
        sample_rate: Hz.

    Raises:
        ValueError: If there are no samples, or more than two channels.
    """
    if audio.ndim != 2 or not 1 <= len(audio) <= 2 or not audio.shape[1]:
        raise ValueError(f"loudness needs one or two channels with samples, not an array of shape {audio.shape}")
    weighted = audio.astype(np.float64)
    for b, a in k_weighting(sample_rate):
        weighted = lfilter(b, a, weighted, axis=-1)
    power = _block_powers(weighted, sample_rate)
    power = power[_lufs(power) > ABSOLUTE_GATE_LUFS]
    if not len(power):
        return -math.inf
    loud = power[_lufs(power) > _lufs(power.mean()) + RELATIVE_GATE_LU]
    return float(_lufs(loud.mean()))


def true_peak_db(audio: NDArray[np.floating]) -> float:
    """Largest magnitude between the samples, too, by fourfold oversampling (BS.1770-4, annex 2), in dB of full scale."""
    peak = max(float(np.abs(audio).max()), float(np.abs(resample_poly(audio, 4, 1, axis=-1)).max()))
    return 20 * math.log10(max(peak, 1e-12))


def _block_powers(weighted: FloatArray, sample_rate: int) -> FloatArray:
    """Mean square of each block, summed over channels: `[blocks]`. What is left of a block at the end is not used."""
    length = min(round(BLOCK_SECONDS * sample_rate), weighted.shape[1])
    hop = max(round(BLOCK_SECONDS * sample_rate * (1 - OVERLAP)), 1)
    total = np.concatenate([[0.0], np.cumsum(np.square(weighted).sum(axis=0))])
    starts = np.arange(0, weighted.shape[1] - length + 1, hop)
    return np.asarray((total[starts + length] - total[starts]) / length, dtype=np.float64)


def _lufs(power: FloatArray | np.floating) -> FloatArray:
    return np.asarray(OFFSET_DB + 10 * np.log10(np.maximum(power, 1e-20)))
