"""The resampler of OpenL3 and of frechet-audio-distance: resampy's `kaiser_best`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audioptq.compat import quiet_imports


def resample_kaiser_best(audio: NDArray[Any], sample_rate: int, new_rate: int) -> NDArray[Any]:
    """Resamples `[..., samples]` in its own precision, as resampy 0.2.2 does it; does nothing for equal rates.

    soxr lets more through near the band edge: of white noise from 44.1 to 16 kHz, six hundredths of the level differ.
    """
    if sample_rate == new_rate:
        return audio
    with quiet_imports():
        import resampy
    return np.asarray(resampy.resample(np.ascontiguousarray(audio), sample_rate, new_rate, filter="kaiser_best"))
