"""Log-spectral distance between a recipe's clip and the baseline's."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audioptq.score.inputs import ScoreInputs
from audioptq.score.pairs import score_pairs, settings_of
from audioptq.score.spectra import CepstralSettings, check_pair, power_spectrogram, to_db
from audioptq.score.table import clip_table


def lsd_db(*, target: NDArray[np.float64], generated: NDArray[np.float64], settings: CepstralSettings) -> float:
    """Log-spectral distance in dB; lower is better, 0 for equal clips, |gain| for clips that differ by a gain in dB.

    `LSD = mean_t sqrt(mean_f (10 log10 P(t, f) / P'(t, f))^2)`

    Both power spectra are floored at `settings.floor_db` relative to the target's maximum, else silence would decide.
    The mean is over frames, then over channels. ssr_eval, and audioldm_eval after it, leave out the factor 10.

    Source: Gray and Markel 1976, "Distance measures for speech processing".

    Args:
        target: Baseline audio `[channels, samples]` or `[samples]`, before any gain.
        generated: The recipe's audio of the same clip, same shape.
        settings: Sample rate and analysis.

    Returns:
        Distance in dB, at least 0.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal(16000)
        >>> settings = CepstralSettings.for_sample_rate(16000)
        >>> round(lsd_db(target=noise, generated=2 * noise, settings=settings), 4)
        6.0206

    Raises:
        ValueError: If shapes differ, a clip is shorter than a window, a sample is not finite, or the target is silent.
    """
    powers = [power_spectrogram(audio, settings) for audio in check_pair(target, generated, settings)]
    maximum = float(powers[0].max())
    levels = [to_db(power, maximum=maximum, floor_db=settings.floor_db) for power in powers]
    return float(np.sqrt(np.mean((levels[0] - levels[1]) ** 2, axis=-1)).mean())


def score(metric: str, inputs: ScoreInputs) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Compares each clip with the baseline's: the long table, and the settings."""
    values, notes = score_pairs(metric, inputs, lsd_db)
    table = clip_table(metric, inputs.prompts["clip_id"].tolist(), values=values, notes=notes)
    return table, settings_of(inputs)
