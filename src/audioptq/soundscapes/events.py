"""What a scene is made of: one event of one sound class, and the controls its voice reads."""

from dataclasses import dataclass

import numpy as np

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True)
class Event:
    """One sound class sounding for a stretch of a scene.

    Attributes:
        label: Sound class, one of `CLASSES`.
        onset_seconds: Where the event starts in the scene.
        duration_seconds: How long it lasts (it repeats naturally inside that time).
        level_db: RMS of its loudest 64 ms in dB re full scale.
        rate: Factor on the class's natural tempo (1 = natural).
        pitch: Factor on the class's natural frequencies (1 = natural).
        room: `dry`, `near`, `room`, `hall` or `distant`.
        count: How many times a countable sound happens; 0 leaves it to the tempo.
        seed: Seed of every other random choice of the voice.
    """

    label: str
    onset_seconds: float
    duration_seconds: float
    level_db: float
    rate: float
    pitch: float
    room: str
    count: int
    seed: int


@dataclass(frozen=True)
class Controls:
    """What a voice needs to sound: its generator, its length and the event's factors."""

    rng: np.random.Generator
    n_samples: int
    rate: float = 1.0
    pitch: float = 1.0
    count: int = 0

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.n_samples / SAMPLE_RATE_HZ

    def between(self, low: float, high: float) -> float:
        """Draw a uniform number."""
        return float(self.rng.uniform(low, high))

    def hertz(self, low: float, high: float) -> float:
        """Draw a frequency in Hz, scaled by the event's pitch."""
        return self.pitch * self.between(low, high)

    def onsets(self, per_second: float, *, jitter: float = 0.0, countable: bool = False) -> np.ndarray:
        """Times in seconds at which a repeated sound starts.

        Args:
            per_second: Natural tempo; the event's rate multiplies it.
            jitter: Standard deviation of the log interval (0 = a machine, 0.5 = a person, 1 = chance).
            countable: Whether the event's `count`, when it has one, limits the number.
        """
        interval = 1.0 / (per_second * self.rate)
        wanted = self.count if countable and self.count else int(self.seconds / interval * (1.0 + jitter)) + 2
        if countable and self.count:
            interval = min(interval, 0.9 * self.seconds / self.count)
        steps = interval * np.exp(self.rng.normal(0.0, jitter, wanted)) if jitter else np.full(wanted, interval)
        first = self.between(0.02, min(0.25, 0.5 * interval) + 0.03)
        times = first + np.concatenate(([0.0], np.cumsum(steps[:-1])))
        return times[times < self.seconds - 0.05]
