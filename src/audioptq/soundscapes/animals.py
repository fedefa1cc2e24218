"""Voices of animals: bird, dog, cat, frog, cricket, owl."""

import numpy as np

from audioptq.soundscapes.events import Controls
from audioptq.soundscapes.signals import (
    band,
    coloured_noise,
    modes,
    overlay,
    periodic,
    rise_fall,
    seconds_axis,
)


def bird(controls: Controls) -> np.ndarray:
    """A songbird: short whistled sweeps of 3 to 6.5 kHz in phrases."""
    top, depth = controls.hertz(4800, 5600), controls.between(0.25, 0.4)

    def phrase(number: int) -> np.ndarray:
        pieces = []
        for note in range(int(controls.rng.integers(3, 6))):
            times = seconds_axis(controls.between(0.06, 0.1))
            course = times / times[-1]
            course = course if (note + number) % 2 else 1.0 - course
            chirp = periodic(top * (1.0 - depth * course), (1.0,), len(times)) * rise_fall(times, 0.012)
            pieces += [chirp, np.zeros(int(controls.between(300, 900)))]
        return np.concatenate(pieces)

    return overlay(controls.n_samples, controls.onsets(1.3, jitter=0.2), phrase)


def dog(controls: Controls) -> np.ndarray:
    """Barks: rough bursts whose harmonics jump up and fall, a breath apart."""
    base = controls.hertz(380, 460)
    order = np.arange(1, 11)
    vowel = np.exp(-0.5 * ((order * base - 1000) / 550) ** 2) + 0.15

    def bark(_: int) -> np.ndarray:
        times = seconds_axis(controls.between(0.17, 0.22))
        course = times / times[-1]
        voice = periodic(base * (0.75 + 0.5 * np.sin(np.pi * course**0.7)), tuple(vowel), len(times))
        rough = coloured_noise(controls.rng, len(times), band(500, 2200, 1))
        return rise_fall(times, 0.025) * (1.0 - 0.5 * course) * (voice + 0.7 * rough) * controls.between(0.75, 1.0)

    return overlay(controls.n_samples, controls.onsets(1.9, jitter=0.15, countable=True), bark)


def cat(controls: Controls) -> np.ndarray:
    """Meows: a long harmonic cry that rises, opens and sinks."""
    base = controls.hertz(520, 640)

    def meow(_: int) -> np.ndarray:
        length = controls.between(0.75, 0.95)
        times = seconds_axis(min(length, 0.7 * controls.seconds / controls.count) if controls.count else length)
        course = times / times[-1]
        pitch = base * (0.85 + 0.45 * np.sin(np.pi * course**0.8) - 0.15 * course)
        dark = periodic(pitch, (1.0, 0.5, 0.1, 0.05), len(times))
        bright = periodic(pitch, (0.4, 0.6, 1.0, 0.9, 0.6, 0.35, 0.2), len(times))
        opening = np.sin(np.pi * course) ** 2
        return rise_fall(times, 0.09) * ((1.0 - opening) * dark + opening * bright)

    return overlay(controls.n_samples, controls.onsets(0.85, jitter=0.12, countable=True), meow)


def frog(controls: Controls) -> np.ndarray:
    """Croaks: a train of some thirty clicks a second through two throat resonances."""
    first = controls.hertz(650, 800)
    click = modes(controls.rng, 0.03, (first, 2.5 * first), (0.006, 0.004))
    pulse = controls.between(26, 32)

    def croak(_: int) -> np.ndarray:
        length = controls.between(0.38, 0.5) / controls.rate**0.8
        steps = np.arange(0.0, length, 1.0 / pulse)
        return overlay(int((length + 0.05) * 16_000), steps, lambda i: click * min(1.0, 0.3 + 0.2 * i))

    return overlay(controls.n_samples, controls.onsets(1.25, jitter=0.08), croak)


def cricket(controls: Controls) -> np.ndarray:
    """Chirps: groups of pulses of one pure tone near 4.6 kHz."""
    tone, pulses = controls.hertz(4300, 4900), int(controls.rng.integers(3, 5))

    def chirp(_: int) -> np.ndarray:
        times = seconds_axis(pulses * 0.05)
        gate = np.clip(np.sin(2.0 * np.pi * times / 0.05), 0.0, 1.0) ** 0.7
        return gate * np.sin(2.0 * np.pi * tone * times)

    steady = overlay(controls.n_samples, controls.onsets(2.6), chirp)
    return steady + 0.004 * coloured_noise(controls.rng, controls.n_samples, band(3000, 6000, 2))


def owl(controls: Controls) -> np.ndarray:
    """Hoots: soft, nearly pure tones near 400 Hz, a short one and a long one."""
    base = controls.hertz(360, 440)

    def hoot(number: int) -> np.ndarray:
        times = seconds_axis(0.5 if number % 2 else 0.2)
        pitch = base * (1.0 + 0.05 * np.sin(np.pi * times / times[-1]))
        breath = 0.05 * coloured_noise(controls.rng, len(times), band(300, 700, 2))
        return rise_fall(times, 0.06) * (periodic(pitch, (1.0, 0.08), len(times)) + breath)

    return overlay(controls.n_samples, controls.onsets(1.45, jitter=0.08, countable=True), hoot)
