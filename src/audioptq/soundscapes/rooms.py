"""Where a sound is heard: dry, near, in a room, in a hall, far away."""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy import fft

from audioptq.errors import UserError
from audioptq.soundscapes.events import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Room:
    """A place's acoustics.

    Attributes:
        reverberation_seconds: Time in which the late sound falls by 60 dB (0 = none).
        wet: Energy of the late sound relative to the direct sound.
        low_pass_hz: Corner of the air's low pass (0 = none).
        level_db: What the place adds to the event's level.
    """

    reverberation_seconds: float
    wet: float
    low_pass_hz: float
    level_db: float


ROOMS = MappingProxyType(
    {
        "dry": Room(0.0, 0.0, 0.0, 0.0),
        "near": Room(0.0, 0.0, 0.0, 3.0),
        "room": Room(0.35, 0.4, 0.0, 0.0),
        "hall": Room(1.8, 0.5, 0.0, -1.0),
        "distant": Room(0.6, 0.3, 1400.0, -11.0),
    }
)


def apply_room(samples: np.ndarray, room: str, rng: np.random.Generator) -> np.ndarray:
    """Convolve a sound with a place: direct sound plus exponentially decaying noise, then the air's low pass.

    The late sound is `sqrt(wet) n(t) exp(-6.91 t / T60)` with `n` white and the tail scaled to unit energy, after a
    gap of 12 ms; the low pass has the response `1 / (1 + (f / f_c)^2)`, without phase. The level is left to the caller.

    Args:
        samples: `[n_samples]`.
        room: Key of `ROOMS`.
        rng: Generator of the tail.

    Returns:
        `[n_samples]`; the tail is cut at the end of the event.

    Raises:
        UserError: An unknown room.
    """
    if room not in ROOMS:
        raise UserError(f"There is no room {room!r}; the rooms are {', '.join(ROOMS)}.")
    place = ROOMS[room]
    if not place.reverberation_seconds and not place.low_pass_hz:
        return samples
    n_tail = int(place.reverberation_seconds * SAMPLE_RATE_HZ)
    length = fft.next_fast_len(len(samples) + n_tail, real=True)
    response = np.zeros(n_tail, dtype=np.float32)
    tail = rng.standard_normal(n_tail - 192, dtype=np.float32)
    tail *= np.exp(-6.91 * np.arange(len(tail), dtype=np.float32) / n_tail)
    response[192:] = tail * np.sqrt(place.wet / (np.sum(tail**2) + 1e-12))
    response[0] = 1.0
    spectrum = fft.rfft(samples.astype(np.float32), length) * fft.rfft(response, length)
    if place.low_pass_hz:
        frequency = np.arange(len(spectrum), dtype=np.float32) * (SAMPLE_RATE_HZ / length)
        spectrum /= 1.0 + (frequency / place.low_pass_hz) ** 2
    return fft.irfft(spectrum, length)[: len(samples)]
