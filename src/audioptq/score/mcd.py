"""Mel cepstral distortion between a recipe's clip and full precision's, frame by frame or time-aligned."""

import numpy as np
from numpy.typing import NDArray

from audioptq.score.dtw import align
from audioptq.score.spectra import CepstralSettings, ClipPair

FloatArray = NDArray[np.float64]


def mcd_db(*, target: FloatArray, generated: FloatArray, settings: CepstralSettings) -> float:
    """Mel cepstral distortion in dB, frame by frame; lower is better, 0 for clips that differ in level alone.

    `MCD = mean_t (10 / ln 10) sqrt(2 sum_{d=1..D} (c_d - c'_d)^2) = mean_t |C_1..D - C'_1..D| / sqrt(M)`

    where c are the cepstra of `ln |X(w)| = c_0 + sum_d c_d cos(d w)`, w on the mel scale, and C the orthonormal DCT-II of
    10 log10 of the power in M mel bands, which already is in dB. So it is the RMS difference in level of the two
    smoothed spectra, on the scale of LSD, without c_0. Both clips have the target's floor, below which levels do not
    count. The mean is over frames, then over channels. Other papers use other bands and orders: values compare within
    one set of settings only.

    Source: Kubichek 1993, "Mel-cepstral distance measure for objective speech quality assessment"; these cepstra are twice those of
    `ln |X| = c_0 + 2 sum c_d cos`, and those of SPTK's mcep.

    Args:
        target: Full precision's audio `[channels, samples]` or `[samples]`, before any gain.
        generated: The recipe's audio of the same clip, same shape.
        settings: Sample rate and analysis.

    Returns:
        Distortion in dB, at least 0.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal(16000)
        >>> settings = CepstralSettings.for_sample_rate(16000)
        >>> abs(round(mcd_db(target=noise, generated=0.5 * noise, settings=settings), 9))
        0.0

    Raises:
        ValueError: If shapes differ, a clip is shorter than a window, a sample is not finite, or the target is silent.
    """
    return _frame_by_frame(ClipPair(target=target, generated=generated, settings=settings))[0]


def mcd_dtw_db(*, target: FloatArray, generated: FloatArray, settings: CepstralSettings) -> float:
    """Mel cepstral distortion in dB along the best time alignment; lower is better, never above `mcd_db`.

    As `mcd_db`, with the mean over the pairs of frames of the exact dynamic-time-warping path within
    `settings.dtw_seconds` of the diagonal, one path per channel.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal(16000)
        >>> settings = CepstralSettings.for_sample_rate(16000)
        >>> late = np.roll(noise, 3 * settings.hop)
        >>> pair = dict(target=noise, generated=late, settings=settings)
        >>> mcd_dtw_db(**pair) < 0.2 * mcd_db(**pair)
        True

    Raises:
        ValueError: As `mcd_db`.
    """
    return _time_aligned(ClipPair(target=target, generated=generated, settings=settings))[0]


def _frame_by_frame(pair: ClipPair) -> tuple[float, dict[str, float]]:
    target, generated = pair.cepstra
    distances = np.linalg.norm(target - generated, axis=-1)
    return float(distances.mean() / np.sqrt(pair.settings.n_mels)), {}


def _time_aligned(pair: ClipPair) -> tuple[float, dict[str, float]]:
    """The distance, and the path penalty, in [0, 1), that says how much time was warped to get it."""
    radius = pair.settings.dtw_frames
    paths = [align(target=a, generated=b, radius=radius) for a, b in zip(*pair.cepstra, strict=True)]
    distance = np.mean([path.cost / path.n_steps for path in paths]) / np.sqrt(pair.settings.n_mels)
    return float(distance), {"dtw_path_penalty": float(np.mean([path.penalty for path in paths]))}


DISTANCES = {"mcd_db": _frame_by_frame, "mcd_dtw_db": _time_aligned}
