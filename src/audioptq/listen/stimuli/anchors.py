"""MUSHRA's anchors: full precision's clip without what lies above 3.5 and 7 kHz (ITU-R BS.1534-3, section 5.1)."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, firwin, kaiserord

ANCHORS_HZ = {"anchor_3k5": 3500.0, "anchor_7k": 7000.0}
# BS.1534 asks for 25 dB at 4 kHz and 50 dB at 4.5 kHz of the low anchor; this filter gives 60 dB from 500 Hz above its edge.
STOP_DB, TRANSITION_HZ = 60.0, 500.0


def low_pass(audio: NDArray[np.floating], sample_rate: int, edge_hz: float) -> NDArray[np.float64]:
    """Audio `[channels, samples]` below `edge_hz`, by a linear-phase filter whose delay is taken out.

    Raises:
        ValueError: If half the sample rate does not lie above the filter's transition.
    """
    if not fits(sample_rate, edge_hz):
        raise ValueError(f"{sample_rate} Hz leaves no room above an anchor of {edge_hz:g} Hz")
    n_taps, beta = kaiserord(STOP_DB, TRANSITION_HZ / (sample_rate / 2))
    n_taps |= 1  # an odd length delays by whole samples
    taps = firwin(n_taps, edge_hz + TRANSITION_HZ / 2, window=("kaiser", beta), fs=sample_rate)
    return np.asarray(fftconvolve(audio.astype(np.float64), taps[None], mode="same", axes=-1))


def fits(sample_rate: int, edge_hz: float) -> bool:
    """Whether audio of a sample rate has anything above an anchor's transition."""
    return sample_rate / 2 >= edge_hz + TRANSITION_HZ
