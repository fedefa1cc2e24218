"""From a scene to samples."""

import numpy as np

from audioptq.errors import UserError
from audioptq.soundscapes.classes import VOICES
from audioptq.soundscapes.events import SAMPLE_RATE_HZ, Controls, Event
from audioptq.soundscapes.rooms import ROOMS, apply_room
from audioptq.soundscapes.scenes import Scene

FRAME = 1024
PEAK = 0.95
NOISE_FLOOR = 3e-4


def loudest_rms(samples: np.ndarray) -> float:
    """RMS of the loudest 64 ms frame."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME) if len(samples) >= FRAME else samples[None]
    return float(np.sqrt(np.max(np.mean(frames.astype(np.float64) ** 2, axis=1))))


def render_event(event: Event) -> np.ndarray:
    """Sound one event: its voice, its room, then its level (`level_db` plus what the room adds).

    Returns:
        `[round(duration_seconds * 16000)]` float32.

    Raises:
        UserError: An unknown label or room.
    """
    if event.label not in VOICES:
        raise UserError(f"There is no sound class {event.label!r}; the classes are {', '.join(VOICES)}.")
    rng = np.random.default_rng(event.seed)
    n_samples = round(event.duration_seconds * SAMPLE_RATE_HZ)
    dry = VOICES[event.label](Controls(rng, n_samples, event.rate, event.pitch, event.count))
    heard = apply_room(dry, event.room, rng)
    wanted = 10.0 ** ((event.level_db + ROOMS[event.room].level_db) / 20.0)
    heard = heard * (wanted / max(loudest_rms(heard), 1e-9))
    edge = min(160, n_samples // 2)
    heard[:edge] *= np.linspace(0.0, 1.0, edge)
    heard[n_samples - edge :] *= np.linspace(1.0, 0.0, edge)
    return heard.astype(np.float32)


def render(scene: Scene) -> np.ndarray:
    """Sum a scene's events over a very low noise floor; a peak above 0.95 scales the whole clip down.

    Returns:
        `[round(seconds_total * 16000)]` float32.
    """
    n_samples = round(scene.seconds_total * SAMPLE_RATE_HZ)
    mix = NOISE_FLOOR * np.random.default_rng(scene.seed).standard_normal(n_samples, dtype=np.float32)
    for event in scene.events:
        start = round(event.onset_seconds * SAMPLE_RATE_HZ)
        heard = render_event(event)[: n_samples - start]
        mix[start : start + len(heard)] += heard
    peak = float(np.max(np.abs(mix)))
    return mix if peak <= PEAK else mix * np.float32(PEAK / peak)
