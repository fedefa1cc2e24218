"""Voices made of noise: rain, wind, waves, applause, thunder, hissing steam, vacuum cleaner."""

import numpy as np
from scipy.ndimage import uniform_filter1d

from audioptq.soundscapes.events import SAMPLE_RATE_HZ, Controls
from audioptq.soundscapes.signals import (
    attack_decay,
    band,
    coloured_noise,
    overlay,
    periodic,
    seconds_axis,
    slow_curve,
)


def rain(controls: Controls) -> np.ndarray:
    """A steady bright hiss from 1 kHz up with the ticks of single drops."""
    steady = coloured_noise(controls.rng, controls.n_samples, band(controls.hertz(1000, 1500), 6500, 1))
    chance = controls.rng.random(controls.n_samples) < 150.0 * controls.rate / SAMPLE_RATE_HZ
    ticks = np.where(chance, controls.rng.exponential(1.0, controls.n_samples), 0.0)
    shape = attack_decay(seconds_axis(0.006), 0.0003, 0.0015) * controls.rng.choice((-1.0, 1.0), 96)
    return steady * (0.9 + 0.1 * slow_curve(controls, 2)) + 1.2 * np.convolve(ticks, shape)[: controls.n_samples]


def wind(controls: Controls) -> np.ndarray:
    """Low noise whose brightness and level swell with the gusts."""
    gust = slow_curve(controls, 1.1 * controls.rate)
    low = coloured_noise(controls.rng, controls.n_samples, band(60, controls.hertz(180, 260), 2))
    howl = coloured_noise(controls.rng, controls.n_samples, band(controls.hertz(330, 420), controls.hertz(600, 750), 3))
    return (0.25 + 0.6 * gust) * low + 1.1 * gust**2 * howl


def waves(controls: Controls) -> np.ndarray:
    """Surf: noise that swells, breaks brightly and draws back, every two to three seconds."""
    times = np.arange(controls.n_samples) / SAMPLE_RATE_HZ
    cycle = (times * controls.between(0.36, 0.46) * controls.rate + controls.between(0.0, 1.0)) % 1.0
    swell = np.where(cycle < 0.4, (cycle / 0.4) ** 2, np.exp(-(cycle - 0.4) / 0.16))
    swell = uniform_filter1d(swell, 800)
    deep = coloured_noise(controls.rng, controls.n_samples, band(80, controls.hertz(600, 800), 1))
    spray = coloured_noise(controls.rng, controls.n_samples, band(900, controls.hertz(4000, 5000), 1))
    return (0.08 + swell) * deep + 1.1 * swell**1.7 * spray


def applause(controls: Controls) -> np.ndarray:
    """Many pairs of hands: dense noise bursts of 1 to 2.5 kHz with uneven loudness."""
    clap_noise = coloured_noise(controls.rng, 16 * 480, band(controls.hertz(900, 1050), controls.hertz(1900, 2300), 3))
    shape = attack_decay(seconds_axis(0.03), 0.0008, 0.006)
    claps = clap_noise.reshape(16, 480) * shape
    onsets = controls.onsets(190.0, jitter=0.9)
    strength = controls.rng.lognormal(0.0, 0.6, len(onsets))
    return overlay(controls.n_samples, onsets, lambda number: claps[number % 16] * strength[number])


def thunder(controls: Controls) -> np.ndarray:
    """A crack and a long rolling rumble below 200 Hz."""
    rumble = coloured_noise(controls.rng, controls.n_samples, band(25, controls.hertz(90, 140), 2))
    crack = coloured_noise(controls.rng, controls.n_samples, band(80, controls.hertz(1200, 2200), 1))
    times = np.arange(controls.n_samples) / SAMPLE_RATE_HZ
    roll, flash = np.zeros(controls.n_samples), np.zeros(controls.n_samples)
    for onset in controls.onsets(0.4, jitter=0.2):
        since = np.maximum(times - onset, 0.0)
        roll += np.minimum(since / 0.04, 1.0) * np.exp(-since / controls.between(0.8, 1.2))
        flash += np.minimum(since / 0.008, 1.0) * np.exp(-since / 0.09) * controls.between(0.7, 1.2)
    return roll * (0.45 + 0.75 * slow_curve(controls, 7)) * rumble + 0.9 * flash * crack


def hiss(controls: Controls) -> np.ndarray:
    """Escaping steam: noise above 4 kHz in long jets."""
    jet = coloured_noise(controls.rng, controls.n_samples, band(controls.hertz(3900, 4600), 9000, 5))
    times = np.arange(controls.n_samples) / SAMPLE_RATE_HZ
    cycle = (times * controls.between(0.45, 0.6) * controls.rate + controls.between(0.0, 1.0)) % 1.0
    return jet * (0.15 + np.clip(np.minimum(cycle / 0.05, (0.8 - cycle) / 0.12), 0.0, 1.0))


def vacuum(controls: Controls) -> np.ndarray:
    """A vacuum cleaner: the whine of a fast motor over steady broad noise that the nozzle moves a little."""
    motor = controls.hertz(420, 520) * (1.0 + 0.03 * slow_curve(controls, 0.8 * controls.rate))
    whine = periodic(motor, (0.8, 1.0, 0.5, 0.6, 0.3, 0.35, 0.2, 0.2), controls.n_samples)
    air = coloured_noise(controls.rng, controls.n_samples, band(200, controls.hertz(2200, 2800), 1))
    return whine + (0.55 + 0.2 * slow_curve(controls, 1.0)) * air
