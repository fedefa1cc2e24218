"""Voices of machines and tools: engine, helicopter, saw, clock, typing, hammer."""

import numpy as np

from audioptq.soundscapes.events import SAMPLE_RATE_HZ, Controls
from audioptq.soundscapes.signals import (
    attack_decay,
    band,
    coloured_noise,
    modes,
    overlay,
    periodic,
    seconds_axis,
    slow_curve,
)


def engine(controls: Controls) -> np.ndarray:
    """A car engine: dense low harmonics whose speed wanders, with exhaust noise."""
    turns = controls.hertz(75, 95) * controls.rate**0.6 * (1.0 + 0.35 * slow_curve(controls, 0.9))
    order = np.arange(1, 16)
    firing = controls.rng.uniform(0.6, 1.0, 15) / order**0.75
    steady = periodic(turns, tuple(firing), controls.n_samples)
    return steady + 0.12 * coloured_noise(controls.rng, controls.n_samples, band(80, 900, 1))


def helicopter(controls: Controls) -> np.ndarray:
    """Rotor blades: low noise chopped about ten times a second, with a faint turbine."""
    times = np.arange(controls.n_samples) / SAMPLE_RATE_HZ
    cycle = (times * controls.between(8.5, 10.5) * controls.rate + controls.between(0.0, 1.0)) % 1.0
    chop = np.exp(-cycle / 0.16) * np.minimum(1.0, cycle / 0.03)
    blade = coloured_noise(controls.rng, controls.n_samples, band(60, controls.hertz(420, 560), 1))
    turbine = periodic(controls.hertz(2700, 3000), (1.0,), controls.n_samples)
    return (0.08 + chop) * blade + 0.03 * turbine


def saw(controls: Controls) -> np.ndarray:
    """A hand saw: rasping strokes, the pull darker than the push."""
    per_second = controls.between(1.2, 1.5) * controls.rate
    times = np.arange(controls.n_samples) / SAMPLE_RATE_HZ
    cycle = (times * per_second + controls.between(0.0, 1.0)) % 1.0
    push = np.sin(np.pi * np.clip(cycle / 0.48, 0.0, 1.0)) ** 0.7
    pull = np.sin(np.pi * np.clip((cycle - 0.52) / 0.48, 0.0, 1.0)) ** 0.7
    bright = coloured_noise(controls.rng, controls.n_samples, band(controls.hertz(2100, 2500), 4800, 3))
    dark = coloured_noise(controls.rng, controls.n_samples, band(controls.hertz(700, 850), 1700, 3))
    teeth = 0.6 + 0.4 * np.sin(2.0 * np.pi * 75.0 * times)
    return teeth * (push * bright + 0.8 * pull * dark)


def clock(controls: Controls) -> np.ndarray:
    """A clock: very short bright ticks at an even two a second, every second one lower."""
    tick_hz = controls.hertz(3400, 4200)
    tick = modes(controls.rng, 0.05, (tick_hz, 1.53 * tick_hz), (0.006, 0.004))
    tock = 0.85 * modes(controls.rng, 0.06, (0.62 * tick_hz, 1.02 * tick_hz), (0.007, 0.005))
    onsets = controls.onsets(controls.between(1.9, 2.2))
    return overlay(controls.n_samples, onsets, lambda number: tock if number % 2 else tick)


def typing(controls: Controls) -> np.ndarray:
    """A keyboard: irregular clusters of dry broad clicks, eight a second."""
    shape = attack_decay(seconds_axis(0.03), 0.0005, 0.005)
    low, high = controls.hertz(900, 1200), controls.hertz(3800, 4600)
    clicks = coloured_noise(controls.rng, 12 * len(shape), band(low, high, 2)).reshape(12, -1) * shape
    onsets = controls.onsets(9.0, jitter=0.55)
    strength = controls.rng.uniform(0.4, 1.0, len(onsets))
    return overlay(controls.n_samples, onsets, lambda number: clicks[number % 12] * strength[number])


def hammer(controls: Controls) -> np.ndarray:
    """A hammer on metal: ringing inharmonic strokes, one and a half a second."""
    base = controls.hertz(1050, 1350)
    ratios = np.array((1.0, 1.47, 2.09, 2.56, 3.4, 4.6))
    ring = modes(controls.rng, 0.45, base * ratios, (0.09, 0.08, 0.07, 0.06, 0.05, 0.03))
    strike = attack_decay(seconds_axis(0.02), 0.0005, 0.004) * controls.rng.normal(size=320)
    ring[:320] += 2.0 * strike
    onsets = controls.onsets(1.7, jitter=0.05)
    return overlay(controls.n_samples, onsets, lambda _: ring * controls.between(0.7, 1.0))
