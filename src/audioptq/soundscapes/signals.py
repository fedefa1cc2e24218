"""Vectorised building blocks of the voices: oscillators, coloured noise, decaying modes, grains."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import fft

from audioptq.soundscapes.events import SAMPLE_RATE_HZ, Controls

TABLE_SIZE = 2048
HIGHEST_HZ = 7600.0


def periodic(frequency_hz: np.ndarray | float, amplitudes: Sequence[float] | np.ndarray, n_samples: int) -> np.ndarray:
    """Read a table of summed harmonics at a running phase: `x[n] = sum_k a_k sin(k phi[n])`.

    Args:
        frequency_hz: Constant, or `[n_samples]`, in Hz.
        amplitudes: `a_1, a_2, ...`; harmonics above 7.6 kHz at the highest frequency are left out.
        n_samples: Length of the result.
    """
    frequency = np.broadcast_to(np.asarray(frequency_hz, dtype=np.float64), (n_samples,))
    kept = max(1, min(len(amplitudes), int(HIGHEST_HZ / max(float(frequency.max(initial=1.0)), 1.0))))
    angle = 2.0 * np.pi * np.arange(TABLE_SIZE) / TABLE_SIZE
    orders = np.arange(1, kept + 1)
    table = (np.asarray(amplitudes[:kept])[:, None] * np.sin(orders[:, None] * angle)).sum(0).astype(np.float32)
    phase = np.cumsum(frequency * (TABLE_SIZE / SAMPLE_RATE_HZ))
    return table[phase.astype(np.int64) % TABLE_SIZE]


def coloured_noise(rng: np.random.Generator, n_samples: int, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Gaussian noise with the magnitude response `gain(f in Hz)`, drawn in the frequency domain; unit RMS."""
    length = fft.next_fast_len(max(n_samples, 64), real=True)
    bins = length // 2 + 1
    spectrum = rng.standard_normal((bins, 2), dtype=np.float32).view(np.complex64)[:, 0]
    spectrum = spectrum * gain(np.arange(bins, dtype=np.float32) * (SAMPLE_RATE_HZ / length)).astype(np.float32)
    spectrum[0] = 0.0
    noise = fft.irfft(spectrum, length)[:n_samples]
    return noise / (np.sqrt(np.mean(noise**2)) + 1e-12)


def band(low_hz: float, high_hz: float, order: int = 2) -> Callable[[np.ndarray], np.ndarray]:
    """Magnitude of a Butterworth-like band pass between two corners."""

    def gain(frequency: np.ndarray) -> np.ndarray:
        ratio = np.maximum(frequency, 1.0)
        return 1.0 / np.sqrt((1.0 + (low_hz / ratio) ** (2 * order)) * (1.0 + (ratio / high_hz) ** (2 * order)))

    return gain


def slow_curve(controls: Controls, per_second: float) -> np.ndarray:
    """A smooth random curve `[n_samples]` between 0 and 1 with about `per_second` turning points a second."""
    knots = max(3, int(controls.seconds * per_second) + 3)
    values = controls.rng.uniform(0.0, 1.0, knots)
    where = np.linspace(0.0, knots - 1.0, controls.n_samples)
    left = np.minimum(where.astype(np.int64), knots - 2)
    blend = 0.5 - 0.5 * np.cos(np.pi * (where - left))
    return values[left] * (1.0 - blend) + values[left + 1] * blend


def seconds_axis(duration_seconds: float) -> np.ndarray:
    """Times in seconds of a grain of that duration."""
    return np.arange(max(8, int(duration_seconds * SAMPLE_RATE_HZ))) / SAMPLE_RATE_HZ


def attack_decay(times: np.ndarray, attack_seconds: float, decay_seconds: float) -> np.ndarray:
    """Envelope that rises linearly and falls as `exp(-t / decay)`, its last 3 ms faded to nothing."""
    ending = np.minimum(1.0, (times[-1] - times) / 0.003)
    return np.minimum(1.0, times / attack_seconds) * np.exp(-times / decay_seconds) * ending


def rise_fall(times: np.ndarray, edge_seconds: float) -> np.ndarray:
    """Envelope flat at 1 with raised-cosine edges."""
    edge = np.clip(np.minimum(times, times[-1] - times) / edge_seconds, 0.0, 1.0)
    return 0.5 - 0.5 * np.cos(np.pi * edge)


def modes(
    rng: np.random.Generator,
    duration_seconds: float,
    frequencies_hz: Sequence[float] | np.ndarray,
    decays: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """A struck body: `sum_k a_k exp(-t / tau_k) sin(2 pi f_k t)` with weakly falling random amplitudes."""
    times = seconds_axis(duration_seconds)
    hertz = np.minimum(np.asarray(frequencies_hz), HIGHEST_HZ)[:, None]
    weight = (rng.uniform(0.7, 1.0, len(hertz)) * np.linspace(1.0, 0.45, len(hertz)))[:, None]
    body = weight * np.exp(-times / np.asarray(decays)[:, None]) * np.sin(2.0 * np.pi * hertz * times)
    return body.sum(0) * np.minimum(1.0, times / 0.001) * np.minimum(1.0, (times[-1] - times) / 0.005)


def overlay(n_samples: int, onsets_seconds: np.ndarray, grain: Callable[[int], np.ndarray]) -> np.ndarray:
    """Add `grain(i)` at every onset; what runs past the end is cut."""
    out = np.zeros(n_samples)
    for number, onset in enumerate(onsets_seconds):
        start = int(onset * SAMPLE_RATE_HZ)
        piece = grain(number)[: n_samples - start]
        out[start : start + len(piece)] += piece
    return out
