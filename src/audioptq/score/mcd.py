"""Mel cepstral distortion between a recipe's clip and the baseline's, frame by frame or time-aligned."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audioptq.score.dtw import align
from audioptq.score.inputs import ScoreInputs
from audioptq.score.pairs import score_pairs, settings_of
from audioptq.score.spectra import CepstralSettings, check_pair, mel_cepstra, mel_filterbank, power_spectrogram, to_db
from audioptq.score.table import clip_table

FloatArray = NDArray[np.float64]


def mcd_db(*, target: FloatArray, generated: FloatArray, settings: CepstralSettings) -> float:
    """Mel cepstral distortion in dB, frame by frame; lower is better, 0 for clips that differ in level alone.

    `MCD = mean_t (10 / ln 10) sqrt(2 sum_{d=1..D} (c_d - c'_d)^2) = mean_t |C_1..D - C'_1..D| / (2 sqrt(M))`

    where c are cepstra of the natural logarithm of the magnitude, and C the orthonormal DCT-II of 10 log10 of the
    power in M mel bands, which already is in dB. c_0 is excluded. Both clips have the target's floor, below which
    levels do not count. The mean is over frames, then over channels. Other papers use other constants, bands and
    orders: values compare within one set of settings only.

    Source: Kubichek 1993, "Mel-cepstral distance measure for objective speech quality assessment".

    Args:
        target: Baseline audio `[channels, samples]` or `[samples]`, before any gain.
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
    cepstra = _cepstra(target, generated, settings)
    distances = np.linalg.norm(cepstra[0] - cepstra[1], axis=-1)
    return float(distances.mean() / (2 * np.sqrt(settings.n_mels)))


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
    return aligned_mcd_db(target=target, generated=generated, settings=settings)[0]


def aligned_mcd_db(*, target: FloatArray, generated: FloatArray, settings: CepstralSettings) -> tuple[float, float]:
    """`mcd_dtw_db` and the path penalty, in [0, 1), that says how much time was warped to get it.

    Raises:
        ValueError: As `mcd_db`.
    """
    cepstra = _cepstra(target, generated, settings)
    paths = [align(target=a, generated=b, radius=settings.dtw_frames) for a, b in zip(*cepstra, strict=True)]
    distance = np.mean([path.cost / path.n_steps for path in paths]) / (2 * np.sqrt(settings.n_mels))
    return float(distance), float(np.mean([path.penalty for path in paths]))


def _cepstra(target: FloatArray, generated: FloatArray, settings: CepstralSettings) -> tuple[FloatArray, FloatArray]:
    """Cepstra of both clips, `[channels, frames, n_cepstra]`, under the target's floor."""
    filters = mel_filterbank(settings).T
    mels = [power_spectrogram(audio, settings) @ filters for audio in check_pair(target, generated, settings)]
    floor = {"maximum": float(mels[0].max()), "floor_db": settings.floor_db}
    first, second = (mel_cepstra(to_db(mel, **floor), settings.n_cepstra) for mel in mels)
    return first, second


def score(metric: str, inputs: ScoreInputs) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Compares each clip with the baseline's: the long table, and the settings."""
    penalties: list[float] = []

    def aligned(*, target: FloatArray, generated: FloatArray, settings: CepstralSettings) -> float:
        distance, penalty = aligned_mcd_db(target=target, generated=generated, settings=settings)
        penalties.append(penalty)
        return distance

    values, notes = score_pairs(metric, inputs, {"mcd_db": mcd_db, "mcd_dtw_db": aligned}[metric])
    table = clip_table(metric, inputs.prompts["clip_id"].tolist(), values=values, notes=notes)
    settings = settings_of(inputs)
    if penalties:
        settings["dtw_path_penalty"] = float(np.mean(penalties))
    return table, settings
