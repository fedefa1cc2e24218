"""Voices of people and water: knocking, footsteps, dripping."""

import numpy as np

from audioptq.soundscapes.events import Controls
from audioptq.soundscapes.signals import attack_decay, band, coloured_noise, modes, overlay, seconds_axis


def knock(controls: Controls) -> np.ndarray:
    """Knuckles on a wooden door: hollow thuds in groups of three, or as many as the count says."""
    base = controls.hertz(260, 360)
    thud = modes(controls.rng, 0.16, base * np.array((1.0, 1.7, 2.6, 4.1)), (0.035, 0.025, 0.016, 0.008))
    spacing = controls.between(0.17, 0.21) / controls.rate
    if controls.count:
        onsets = controls.between(0.1, 0.4) + 1.6 * spacing * np.arange(controls.count)
    else:
        starts = controls.onsets(0.75 / controls.rate**0.5, jitter=0.1)
        onsets = (starts[:, None] + spacing * np.arange(3)).ravel()
    onsets = onsets[onsets < controls.seconds - 0.02]
    return overlay(controls.n_samples, onsets, lambda _: thud * controls.between(0.75, 1.0))


def footsteps(controls: Controls) -> np.ndarray:
    """Shoes on gravel: a low thump at the heel, then a crunch as the sole rolls."""
    heel_hz = controls.hertz(80, 110)

    def step(_: int) -> np.ndarray:
        times = seconds_axis(0.22)
        heel = np.exp(-times / 0.03) * np.sin(2.0 * np.pi * heel_hz * times)
        crunch = coloured_noise(controls.rng, len(times), band(2600, 6500, 2))
        roll = np.exp(-(((times - 0.09) / 0.035) ** 2))
        return attack_decay(times, 0.002, 10.0) * (1.6 * heel + 0.35 * crunch * roll)

    return overlay(controls.n_samples, controls.onsets(1.8, jitter=0.05), step)


def drip(controls: Controls) -> np.ndarray:
    """Water drops: short rising chirps of a bubble, at uneven times."""
    base = controls.hertz(850, 1100)

    def drop(_: int) -> np.ndarray:
        times = seconds_axis(0.14)
        start = base * controls.between(0.9, 1.12)
        sweep = start * (times + 4.5 * times**2)
        return attack_decay(times, 0.003, 0.035) * np.sin(2.0 * np.pi * sweep) * controls.between(0.6, 1.0)

    return overlay(controls.n_samples, controls.onsets(2.4, jitter=0.35), drop)
