"""Building blocks against independent formulas in float64."""

import numpy as np
import pytest
from scipy import signal as scipy_signal

from audioptq.errors import UserError
from audioptq.soundscapes.events import SAMPLE_RATE_HZ, Controls
from audioptq.soundscapes.rooms import ROOMS, apply_room
from audioptq.soundscapes.signals import (
    TABLE_SIZE,
    band,
    coloured_noise,
    modes,
    overlay,
    periodic,
    rise_fall,
    seconds_axis,
    slow_curve,
)


def test_periodic_is_a_sum_of_harmonics_of_the_running_phase():
    frequency = np.linspace(200.0, 500.0, 4000)
    amplitudes = (1.0, 0.5, 0.25)
    phase = 2.0 * np.pi * np.cumsum(frequency) / SAMPLE_RATE_HZ
    expected = sum(a * np.sin((k + 1) * phase) for k, a in enumerate(amplitudes))
    # Cutting the phase to a table entry errs by at most one step times the steepest slope, sum k a_k.
    tolerance = 2.0 * np.pi / TABLE_SIZE * sum((k + 1) * a for k, a in enumerate(amplitudes)) + 1e-6
    np.testing.assert_allclose(periodic(frequency, amplitudes, 4000), expected, atol=tolerance)


def test_periodic_leaves_out_harmonics_that_would_alias():
    tone = periodic(3000.0, (1.0, 1.0, 1.0, 1.0), SAMPLE_RATE_HZ)
    power = np.abs(np.fft.rfft(tone)) ** 2
    # Harmonics 3 and 4 (9 and 12 kHz) would fold to 7 and 4 kHz.
    assert power[3000] > 1e3 * power[6900:7100].max()
    assert power[3000] > 1e3 * power[3900:4100].max()
    assert power[6000] == pytest.approx(power[3000], rel=0.01)


def test_band_is_minus_three_db_at_its_corners():
    gain = band(200.0, 5000.0, 4)
    np.testing.assert_allclose(gain(np.array([200.0, 5000.0])), np.sqrt(0.5), rtol=1e-3)
    assert gain(np.array([1000.0]))[0] == pytest.approx(1.0, abs=1e-3)
    assert gain(np.array([50.0]))[0] < 0.01


def test_coloured_noise_has_unit_rms_and_the_asked_band():
    noise = coloured_noise(np.random.default_rng(0), 32_000, band(1000.0, 2000.0, 4))
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1.0, abs=1e-4)
    frequency, power = scipy_signal.welch(noise, SAMPLE_RATE_HZ, nperseg=1024)
    weight = band(1000.0, 2000.0, 4)(frequency) ** 2
    for low, high in ((900, 2200), (1200, 1800), (2000, 8000)):
        used = (frequency > low) & (frequency < high)
        # Two seconds hold some 2000 independent values in this octave: a share of it is known to about 0.01.
        assert power[used].sum() / power.sum() == pytest.approx(weight[used].sum() / weight.sum(), abs=0.03)


def test_modes_ring_at_their_frequency_and_decay_at_their_rate():
    tau, hertz = 0.05, 1000.0
    ring = modes(np.random.default_rng(0), 0.4, (hertz,), (tau,))
    envelope = np.abs(scipy_signal.hilbert(ring))
    early, late = envelope[int(0.05 * SAMPLE_RATE_HZ)], envelope[int(0.15 * SAMPLE_RATE_HZ)]
    assert early / late == pytest.approx(np.exp(0.1 / tau), rel=0.05)
    spectrum = np.abs(np.fft.rfft(ring))
    assert np.fft.rfftfreq(len(ring), 1 / SAMPLE_RATE_HZ)[spectrum.argmax()] == pytest.approx(hertz, abs=5)


def test_overlay_adds_grains_and_cuts_the_last():
    grain = np.arange(1.0, 9.0)
    onsets = np.array([0.0, 4.0, 12.0]) / SAMPLE_RATE_HZ
    expected = np.zeros(16)
    for start in (0, 4, 12):
        for offset, value in enumerate(grain):
            if start + offset < 16:
                expected[start + offset] += value
    np.testing.assert_array_equal(overlay(16, onsets, lambda _: grain), expected)


def test_rise_fall_starts_and_ends_at_zero_and_is_flat_between():
    envelope = rise_fall(seconds_axis(0.2), 0.02)
    assert envelope[0] == pytest.approx(0.0, abs=1e-12)
    assert envelope[-1] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(envelope[400:-400], 1.0)


def test_slow_curve_stays_between_zero_and_one_and_moves_smoothly():
    curve = slow_curve(Controls(np.random.default_rng(0), 32_000), 3.0)
    assert curve.shape == (32_000,)
    assert curve.min() >= 0.0
    assert curve.max() <= 1.0
    # A raised cosine between neighbours moves at most pi / 2 per knot, and there are about 4 knots a second.
    assert np.abs(np.diff(curve)).max() < 5 * np.pi / 2 / SAMPLE_RATE_HZ


def test_onsets_follow_the_rate_and_the_count():
    def controls(**values: float) -> Controls:
        return Controls(np.random.default_rng(1), 4 * SAMPLE_RATE_HZ, **values)

    np.testing.assert_allclose(np.diff(controls(rate=2.0).onsets(1.5)), 1.0 / 3.0)
    assert len(controls(count=3).onsets(1.5, countable=True)) == 3
    assert len(controls(count=3).onsets(1.5)) > 4
    # Three strokes at one in two seconds would not fit four seconds: the interval is shortened.
    assert len(controls(count=3).onsets(0.5, countable=True)) == 3


@pytest.mark.parametrize("room", ["room", "hall"])
def test_reverberation_decays_by_sixty_db_in_its_time(room):
    click = np.zeros(3 * SAMPLE_RATE_HZ)
    click[0] = 1.0
    response = apply_room(click, room, np.random.default_rng(0)).astype(np.float64)
    # Schroeder's backward integral of the tail; the slope between -5 and -25 dB gives the decay time.
    tail = response[200 : int(ROOMS[room].reverberation_seconds * SAMPLE_RATE_HZ)]
    decay = 10.0 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2))
    used = (decay < -5.0) & (decay > -25.0)
    slope = np.polyfit(np.flatnonzero(used) / SAMPLE_RATE_HZ, decay[used], 1)[0]
    assert -60.0 / slope == pytest.approx(ROOMS[room].reverberation_seconds, rel=0.1)
    assert np.sum(tail**2) == pytest.approx(ROOMS[room].wet, rel=0.02)


def test_distance_low_passes_at_its_corner():
    click = np.zeros(SAMPLE_RATE_HZ)
    click[8000] = 1.0
    response = apply_room(click, "distant", np.random.default_rng(0))
    # The filter has no phase: the direct sound lies on both sides of the click, the tail 192 samples after it.
    direct = np.abs(np.fft.rfft(response[8000 - 100 : 8000 + 100], SAMPLE_RATE_HZ))
    corner = int(ROOMS["distant"].low_pass_hz)
    # 1 / (1 + (f / f_c)^2): a half at the corner, a fifth at twice it (the direct sound alone, before the tail).
    assert direct[corner] / direct[0] == pytest.approx(0.5, rel=0.05)
    assert direct[2 * corner] / direct[0] == pytest.approx(0.2, rel=0.05)


def test_dry_and_near_leave_the_samples_alone():
    samples = np.random.default_rng(0).standard_normal(1000)
    for room in ("dry", "near"):
        np.testing.assert_array_equal(apply_room(samples, room, np.random.default_rng(0)), samples)


def test_unknown_room_is_a_user_error():
    with pytest.raises(UserError, match="no room 'cellar'"):
        apply_room(np.zeros(100), "cellar", np.random.default_rng(0))
