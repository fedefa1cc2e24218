"""Voices with a steady or gliding pitch: siren, alarm, phone, bell, whistle, train horn."""

import numpy as np

from audioptq.soundscapes.events import SAMPLE_RATE_HZ, Controls
from audioptq.soundscapes.signals import (
    band,
    coloured_noise,
    modes,
    overlay,
    periodic,
    rise_fall,
    seconds_axis,
)


def siren(controls: Controls) -> np.ndarray:
    """A wail gliding between about 550 and 1400 Hz every two seconds."""
    times = np.arange(controls.n_samples) / SAMPLE_RATE_HZ
    phase = 2.0 * np.pi * (controls.between(0.4, 0.6) * controls.rate * times + controls.between(0.0, 1.0))
    low, high = controls.hertz(500, 620), controls.hertz(1250, 1500)
    sweep = np.sqrt(low * high) * (high / low) ** (0.5 * np.sin(phase))
    return periodic(sweep, (1.0, 0.45, 0.3, 0.12), controls.n_samples)


def alarm(controls: Controls) -> np.ndarray:
    """A square-wave beeper near 1 kHz (odd harmonics), four beeps a second."""
    per_second = controls.between(3.4, 4.4) * controls.rate
    times = np.arange(controls.n_samples) / SAMPLE_RATE_HZ
    cycle = (times * per_second + controls.between(0.0, 1.0)) % 1.0
    gate = np.clip(np.minimum(cycle, 0.5 - cycle) / (per_second * 0.004), 0.0, 1.0)
    return gate * periodic(controls.hertz(900, 1150), (1.0, 0.0, 0.6, 0.0, 0.45, 0.0, 0.35), controls.n_samples)


def phone(controls: Controls) -> np.ndarray:
    """Two metal gongs struck in turn 22 times a second, in rings of about 0.9 s."""
    base, trill = controls.hertz(1900, 2400), controls.between(18, 24)

    def ring(_: int) -> np.ndarray:
        times = seconds_axis(controls.between(0.85, 1.0) / controls.rate)
        strokes = np.exp(-3.5 * ((times * trill) % 1.0))
        turn = np.sin(2.0 * np.pi * base * times) * (np.floor(times * trill) % 2 == 0)
        other = np.sin(2.0 * np.pi * 1.26 * base * times) * (np.floor(times * trill) % 2 == 1)
        return rise_fall(times, 0.01) * (strokes * (turn + other) + 0.5 * strokes * np.sin(5.6 * np.pi * base * times))

    return overlay(controls.n_samples, controls.onsets(0.62), ring)


def bell(controls: Controls) -> np.ndarray:
    """A church bell: inharmonic partials with long decays, a stroke every 1.4 s."""
    base = controls.hertz(330, 520)
    ratios = np.array((0.5, 1.0, 1.19, 1.56, 2.0, 2.74, 3.76, 5.1))
    decays = np.array((1.6, 1.3, 1.0, 0.7, 0.8, 0.5, 0.3, 0.2))
    stroke = modes(controls.rng, 2.6, base * ratios, decays)
    onsets = controls.onsets(0.72, jitter=0.03, countable=True)
    return overlay(controls.n_samples, onsets, lambda _: stroke * controls.between(0.8, 1.0))


def whistle(controls: Controls) -> np.ndarray:
    """A person whistling a tune: a breathy sine on notes of a scale, with vibrato and glides."""
    scale = 2.0 ** (np.array((0, 2, 4, 5, 7, 9, 12)) / 12.0)
    base = controls.hertz(1150, 1450)
    out = np.zeros(controls.n_samples)
    onsets = controls.onsets(3.0, jitter=0.25)
    for onset, following in zip(onsets, [*onsets[1:], controls.seconds], strict=True):
        times = seconds_axis(max(0.08, 0.93 * (following - onset)))
        note = base * controls.rng.choice(scale)
        vibrato = 1.0 + 0.012 * np.sin(2.0 * np.pi * 5.5 * times) - 0.06 * np.exp(-times / 0.02)
        start = int(onset * SAMPLE_RATE_HZ)
        grain = periodic(note * vibrato, (1.0, 0.04), len(times)) * rise_fall(times, 0.03)
        out[start : start + len(grain)] += grain[: controls.n_samples - start]
    return out + 0.02 * coloured_noise(controls.rng, controls.n_samples, band(1000, 3000))


def train_horn(controls: Controls) -> np.ndarray:
    """An air-horn chord of five notes with bright harmonics, in blasts of more than a second."""
    base = controls.hertz(280, 330)
    chord = base * np.array((1.0, 1.19, 1.335, 1.59, 2.0)) * controls.rng.normal(1.0, 0.004, 5)
    bright = 1.0 / np.arange(1, 14) ** 0.8

    def blast(_: int) -> np.ndarray:
        length = controls.between(1.1, 1.4)
        times = seconds_axis(min(length, 0.65 * controls.seconds / controls.count) if controls.count else length)
        bend = 1.0 - 0.04 * np.exp(-times / 0.06)
        return rise_fall(times, 0.07) * np.sum([periodic(note * bend, bright, len(times)) for note in chord], axis=0)

    return overlay(controls.n_samples, controls.onsets(0.6, jitter=0.05, countable=True), blast)
