"""Loudness against the published coefficients of BS.1770 and the test signals of EBU Tech 3341; anchors against BS.1534."""

import math

import numpy as np
import pytest
from scipy.signal import freqz, welch

from audioptq.listen.stimuli.anchors import fits, low_pass
from audioptq.listen.stimuli.level import match
from audioptq.listen.stimuli.loudness import integrated_loudness, k_weighting, true_peak_db

RATES = (16_000, 22_050, 32_000, 44_100, 48_000)


def sine(level_db, seconds, rate=48_000, hz=1000.0, channels=2):
    wave = 10 ** (level_db / 20) * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.stack([wave] * channels)


def test_coefficients_at_48_khz_are_the_published_ones():
    # BS.1770-4, tables 1 and 2.
    (b1, a1), (b2, a2) = k_weighting(48_000)
    np.testing.assert_allclose(b1, [1.53512485958697, -2.69169618940638, 1.19839281085285], atol=1e-9)
    np.testing.assert_allclose(a1 / a1[0], [1, -1.69065929318241, 0.73248077421585], atol=1e-9)
    np.testing.assert_allclose(b2, [1.0, -2.0, 1.0])
    np.testing.assert_allclose(a2 / a2[0], [1, -1.99004745483398, 0.99007225036621], atol=1e-9)


@pytest.mark.parametrize("rate", RATES)
def test_the_weighting_is_the_same_curve_at_every_rate(rate):
    hz = np.array([50.0, 100, 500, 997, 2000, 4000])
    gains = []
    for each in (rate, 48_000):
        total = np.zeros(len(hz))
        for b, a in k_weighting(each):
            total += 20 * np.log10(np.abs(freqz(b, a, worN=hz, fs=each)[1]))
        gains.append(total)
    # The bilinear transform bends the top: a tenth of a dB below a quarter of the rate.
    np.testing.assert_allclose(*gains, atol=0.1)


@pytest.mark.parametrize("rate", RATES)
def test_a_full_scale_tone_in_one_channel_is_minus_3_01(rate):
    # BS.1770-4: "if a 0 dB FS, 997 Hz sine wave is applied to the left, centre or right channel input, ... -3.01 LKFS".
    tone = sine(0.0, 5, rate, 997.0, channels=1)
    # At 16 kHz the bent shelf costs 0.05 dB.
    assert integrated_loudness(tone, rate) == pytest.approx(-3.01, abs=0.06)
    assert integrated_loudness(np.concatenate([tone, 0 * tone]), rate) == pytest.approx(-3.01, abs=0.06)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([(-23, 20)], -23.0),  # case 1
        ([(-33, 20)], -33.0),  # case 2
        ([(-36, 10), (-23, 60), (-36, 10)], -23.0),  # case 3: the relative gate
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),  # case 4: the absolute gate
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),  # case 5
    ],
)
def test_signals_of_ebu_tech_3341(levels, expected):
    audio = np.concatenate([sine(level, seconds) for level, seconds in levels], axis=1)
    assert integrated_loudness(audio, 48_000) == pytest.approx(expected, abs=0.1)  # the tolerance of Tech 3341


def test_silence_has_no_loudness_and_a_short_clip_is_one_block():
    assert integrated_loudness(np.zeros((1, 16_000)), 16_000) == -math.inf
    assert integrated_loudness(sine(-90, 2), 48_000) == -math.inf
    short = sine(-20, 0.2, channels=1)
    assert integrated_loudness(short, 48_000) == pytest.approx(-23.0, abs=0.2)


@pytest.mark.parametrize("shape", [(0, 10), (3, 10), (1, 0), (10,)])
def test_what_has_no_loudness_is_refused(shape):
    with pytest.raises(ValueError, match="one or two channels"):
        integrated_loudness(np.zeros(shape), 16_000)


def test_a_peak_between_samples_is_found():
    # A quarter of the sample rate, 45 degrees off: samples reach 0.707 of a wave of 1 (Tech 3341, case 15's construction).
    wave = np.sin(2 * np.pi * np.arange(4800) / 4 + np.pi / 4)[None]
    assert true_peak_db(wave) == pytest.approx(0.0, abs=0.3)
    assert 20 * math.log10(np.abs(wave).max()) == pytest.approx(-3.01, abs=0.01)


def test_clips_are_matched_without_clipping():
    rng = np.random.default_rng(0)
    click = np.zeros((1, 16_000))
    click[0, ::4000] = 1.0  # far more peak than loudness
    clips = {"quiet": sine(-60, 1, 16_000, channels=1), "loud": rng.standard_normal((1, 16_000)) * 0.3, "peaky": click}
    matched = match(clips, 16_000)
    found = {name: integrated_loudness(clip.audio, 16_000) for name, clip in matched.items()}
    assert max(found.values()) - min(found.values()) < 0.1
    assert max(found.values()) < -23.5  # lower than the target, since the clicks would not fit
    assert max(true_peak_db(clip.audio) for clip in matched.values()) <= -0.9
    for name, clip in matched.items():
        np.testing.assert_allclose(clip.audio, clips[name] * 10 ** (clip.gain_db / 20))
        assert clip.loudness_lufs == pytest.approx(found[name])


def test_without_a_peaky_clip_the_level_is_minus_23():
    assert match({"a": sine(-40, 1)}, 48_000)["a"].loudness_lufs == pytest.approx(-23.0, abs=0.05)


def test_a_clip_that_crosses_the_absolute_gate_is_matched_too():
    # Its soft part lies below -70 LUFS before the gain and above it afterwards.
    audio = np.concatenate([sine(-65, 1), sine(-72, 1)], axis=1)
    assert match({"a": audio}, 48_000)["a"].loudness_lufs == pytest.approx(-23.0, abs=0.05)


@pytest.mark.parametrize(
    ("edge", "passed", "stopped"), [(3500.0, (0, 3400), (4500, 8000)), (7000.0, (0, 6900), (7500, 8000))]
)
def test_anchors_pass_and_stop_what_bs1534_asks(edge, passed, stopped):
    noise = np.random.default_rng(1).standard_normal((2, 160_000))
    filtered = low_pass(noise, 16_000, edge)
    hz, before = welch(noise[1], 16_000, nperseg=4096)
    _, after = welch(filtered[1], 16_000, nperseg=4096)
    gain = 10 * np.log10(after / before)
    assert np.abs(gain[(hz > passed[0]) & (hz < passed[1])]).max() < 0.3
    assert gain[(hz > stopped[0] + 20) & (hz < stopped[1])].max() < -50
    if edge == 3500.0:
        assert gain[np.argmin(np.abs(hz - 4000))] < -25
    # No delay: what is passed stands where it was.
    low = low_pass(noise, 16_000, 1000.0)
    assert np.argmax(np.correlate(low[0, 1000:3000], low_pass(noise, 16_000, edge)[0, 1000:3000], "same")) == 1000


def test_an_anchor_needs_room_above_it():
    assert fits(16_000, 7000.0)
    assert not fits(14_000, 7000.0)
    with pytest.raises(ValueError, match="no room"):
        low_pass(np.zeros((1, 100)), 8000, 7000.0)
