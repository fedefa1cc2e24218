"""Log-spectral distance between a recipe's clip and full precision's."""

import numpy as np
from numpy.typing import NDArray

from audioptq.score.spectra import CepstralSettings, ClipPair


def lsd_db(*, target: NDArray[np.float64], generated: NDArray[np.float64], settings: CepstralSettings) -> float:
    """Log-spectral distance in dB; lower is better, 0 for equal clips, |gain| for clips that differ by a gain in dB.

    `LSD = mean_t sqrt(mean_f (10 log10 P(t, f) / P'(t, f))^2)`

    Both power spectra are floored at `settings.floor_db` relative to the target's maximum, else silence would decide.
    The mean is over frames, then over channels. ssr_eval, and audioldm_eval after it, leave out the factor 10.

    Source: Gray and Markel 1976, "Distance measures for speech processing".

    Args:
        target: Full precision's audio `[channels, samples]` or `[samples]`, before any gain.
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
    return _distance(ClipPair(target=target, generated=generated, settings=settings))[0]


def _distance(pair: ClipPair) -> tuple[float, dict[str, float]]:
    target, generated = pair.levels(pair.powers)
    return float(np.sqrt(np.mean((target - generated) ** 2, axis=-1)).mean()), {}


DISTANCES = {"lsd_db": _distance}
