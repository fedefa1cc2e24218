"""Log-mel frames as Google's audio networks take them: the front end that VGGish and YAMNet share.

Source: tensorflow/models, audioset/vggish/mel_features.py and vggish_params.py, audioset/yamnet/features.py and params.py. Both
build the filters alike: `tf.signal.linear_to_mel_weight_matrix` is mel_features' function in TensorFlow.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16000
WINDOW_LENGTH, HOP_LENGTH, N_FFT = 400, 160, 512
N_MELS, LOWEST_HZ, HIGHEST_HZ = 64, 125.0, 7500.0
EXAMPLE_FRAMES = 96
EXAMPLE_SAMPLES = (EXAMPLE_FRAMES - 1) * HOP_LENGTH + WINDOW_LENGTH  # 15600


def log_mel_frames(samples: NDArray[Any], offset: float) -> NDArray[np.float64]:
    """Frames `[n, 64]` of mono audio at 16 kHz: natural logarithm of mel magnitudes plus `offset`, in float64.

    Frames are not centred: the first begins with the first sample, `n = 1 + (samples - 400) // 160`.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW_LENGTH)[::HOP_LENGTH]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_LENGTH) / WINDOW_LENGTH)
    return np.asarray(np.log(np.abs(np.fft.rfft(frames * hann, N_FFT)) @ mel_matrix() + offset), dtype=np.float64)


@cache
def mel_matrix() -> NDArray[np.float64]:
    """The mel filters `[257, 64]`: triangles over HTK's mel scale, not over frequency, and nothing of 0 Hz."""
    edges = np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), N_MELS + 2)
    bins = _mel(np.linspace(0.0, SAMPLE_RATE_HZ / 2, N_FFT // 2 + 1))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    matrix = np.maximum(0.0, np.minimum(rising, falling))
    matrix[0] = 0.0
    return np.asarray(matrix, dtype=np.float64)


def _mel(frequency_hz: Any) -> Any:
    return 1127.0 * np.log1p(frequency_hz / 700.0)
