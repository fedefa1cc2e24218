"""What is heard: sane samples for every class, attributes that do what they say, classes that can be told apart."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import signal as scipy_signal

from audioptq.errors import UserError
from audioptq.soundscapes import CLASSES, Event, Scene, draw_scene, render
from audioptq.soundscapes.render import loudest_rms, render_event


def event(label: str, **values: object) -> Event:
    """A plain dry event of a class."""
    plain = Event(label, 0.0, 4.096, -20.0, 1.0, 1.0, "dry", 0, 7)
    return replace(plain, **values)  # type: ignore[arg-type]


def frame_energy(samples: np.ndarray, frame: int = 512) -> np.ndarray:
    return np.mean(samples[: len(samples) // frame * frame].reshape(-1, frame).astype(np.float64) ** 2, axis=1)


def strokes(samples: np.ndarray) -> int:
    """Number of times the 16 ms energy rises through a tenth of its greatest value."""
    loud = frame_energy(samples, 256) > 0.1 * frame_energy(samples, 256).max()
    return int(loud[0]) + int(np.sum(~loud[:-1] & loud[1:]))


def centroid_hz(samples: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    return float(np.sum(power * np.fft.rfftfreq(len(samples), 1 / 16_000)) / np.sum(power))


def band_energy(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    frequency = np.fft.rfftfreq(len(samples), 1 / 16_000)
    return float(power[(frequency >= low_hz) & (frequency < high_hz)].sum())


@pytest.mark.parametrize("label", CLASSES)
def test_every_class_renders_sanely(label):
    for index in range(2):
        scene = draw_scene(index, split="train", seed=9, kind="single", label=label)
        samples = render(scene)
        assert samples.shape == (65_536,)
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert 0.01 < np.abs(samples).max() <= 0.99
        # The sound is there early and is not one lone click, unless the caption counts it.
        energy = frame_energy(samples)
        heard = energy > 10.0 * 3e-4**2
        assert heard[:20].any()
        assert heard.sum() >= 4
        if not scene.events[0].count:
            assert heard[64:].any()


@pytest.mark.parametrize("kind", ["while", "followed_by"])
@pytest.mark.parametrize("seconds", [1.0, 5.0])
def test_other_lengths_and_kinds_render(kind, seconds):
    for index, label in enumerate(CLASSES):
        samples = render(draw_scene(index, split="train", seed=2, kind=kind, label=label, seconds_total=seconds))
        assert samples.shape == (round(seconds * 16_000),)
        assert np.isfinite(samples).all()
        assert 0.003 < np.abs(samples).max() <= 0.99


def test_rendering_twice_gives_the_same_samples_and_another_seed_others():
    scene = draw_scene(4, split="train", seed=0, kind="while")
    np.testing.assert_array_equal(render(scene), render(scene))
    moved = replace(scene, events=tuple(replace(one, seed=one.seed + 1) for one in scene.events))
    assert np.abs(render(moved) - render(scene)).max() > 0.01


@pytest.mark.parametrize("label", CLASSES)
def test_level_is_the_rms_of_the_loudest_frame(label):
    heard = render_event(event(label))
    # The 10 ms fade at either end may take a little from a frame there.
    assert 20.0 * np.log10(loudest_rms(heard)) == pytest.approx(-20.0, abs=0.7)


def test_a_peak_over_the_limit_scales_the_whole_clip_down():
    loud = Scene("x", "single", ("typing",), (event("typing", level_db=0.0),), 4.096, 0)
    samples = render(loud)
    assert np.abs(samples).max() == pytest.approx(0.95, abs=1e-4)
    quiet = render(replace(loud, events=(event("typing", level_db=-30.0),)))
    # Same waveform up to a factor and the noise floor.
    assert np.corrcoef(samples, quiet)[0, 1] > 0.99


@pytest.mark.parametrize("label", ["knock", "dog", "clock", "drip"])
def test_a_hall_rings_on_after_the_strokes(label):
    def decay_share(room: str) -> float:
        """Share of the energy that comes outside the loudest frames of the dry sound."""
        dry = frame_energy(render_event(event(label)))
        gaps = dry < 1e-3 * dry.max()
        energy = frame_energy(render_event(event(label, room=room)))
        return float(energy[gaps].sum() / energy.sum())

    assert decay_share("dry") < 0.005
    assert decay_share("room") > 2 * decay_share("dry")
    assert decay_share("hall") > max(0.05, decay_share("room"))


@pytest.mark.parametrize("label", ["rain", "applause", "dog", "saw", "typing"])
def test_distance_is_quieter_and_darker(label):
    near, far = render_event(event(label)), render_event(event(label, room="distant"))
    assert loudest_rms(far) < 0.4 * loudest_rms(near)

    def bright_share(samples: np.ndarray) -> float:
        return band_energy(samples, 3000, 8000) / band_energy(samples, 0, 8000)

    assert bright_share(far) < 0.5 * bright_share(near)


@pytest.mark.parametrize("label", ["clock", "dog", "hammer"])
def test_rate_changes_the_number_of_strokes(label):
    slow, plain, fast = (strokes(render_event(event(label, rate=rate))) for rate in (0.6, 1.0, 1.7))
    assert slow < plain < fast
    assert fast / slow == pytest.approx(1.7 / 0.6, rel=0.3)


@pytest.mark.parametrize("label", ["knock", "dog", "cat", "train_horn", "owl"])
@pytest.mark.parametrize("count", [2, 3])
def test_counted_sounds_happen_that_often(label, count):
    assert strokes(render_event(event(label, count=count))) == count


@pytest.mark.parametrize("label", ["bell", "cat", "owl", "engine", "bird", "whistle"])
def test_pitch_moves_the_spectrum(label):
    low, high = (render_event(event(label, pitch=pitch)) for pitch in (0.82, 1.22))
    assert centroid_hz(high) > 1.15 * centroid_hz(low)


def test_followed_by_sounds_in_the_captions_order():
    bands = {"owl": (300.0, 600.0), "cricket": (4000.0, 5500.0)}
    for first, second in (("owl", "cricket"), ("cricket", "owl")):
        candidates = (draw_scene(i, split="train", seed=0, kind="followed_by", label=first) for i in range(300))
        samples = render(next(scene for scene in candidates if scene.labels[1] == second))
        half = len(samples) // 2
        assert band_energy(samples[:half], *bands[first]) > 20.0 * band_energy(samples[half:], *bands[first])
        assert band_energy(samples[half:], *bands[second]) > 20.0 * band_energy(samples[:half], *bands[second])


def test_while_holds_both_sounds_at_once():
    candidates = (draw_scene(i, split="train", seed=0, kind="while", label="owl") for i in range(300))
    scene = next(scene for scene in candidates if scene.labels[1] == "cricket")
    alone = sum(render_event(one).astype(np.float64) for one in scene.events)
    # What is left is the noise floor of 3e-4.
    assert np.std(render(scene) - alone) == pytest.approx(3e-4, rel=0.05)


def test_unknown_label_is_a_user_error():
    with pytest.raises(UserError, match="no sound class 'lion'"):
        render_event(event("lion"))


def log_band_features(samples: np.ndarray) -> np.ndarray:
    """Mean, deviation and movement of 32 log-spaced band energies."""
    _, _, spectrum = scipy_signal.stft(samples, nperseg=512, noverlap=256)
    edges = np.unique(np.geomspace(2, 257, 33).astype(int))
    energy = np.log(np.add.reduceat(np.abs(spectrum) ** 2, edges[:-1], axis=0) + 1e-9)
    return np.concatenate([energy.mean(1), energy.std(1), np.abs(np.diff(energy, axis=1)).mean(1)])


def test_a_linear_classifier_tells_the_classes_apart_on_unseen_wordings():
    def features(split: str, each: int) -> tuple[np.ndarray, np.ndarray]:
        rows = [
            log_band_features(render(draw_scene(i, split=split, seed=1, kind="single", label=label, seconds_total=2.5)))
            for label in CLASSES
            for i in range(each)
        ]
        return np.array(rows, dtype=np.float64), np.repeat(np.arange(len(CLASSES)), each)

    known, known_class = features("train", 8)
    unseen, unseen_class = features("evaluation", 2)
    mean, deviation = known.mean(0), known.std(0) + 1e-9
    known, unseen = (known - mean) / deviation, (unseen - mean) / deviation
    targets = np.eye(len(CLASSES))[known_class]
    weights = np.linalg.solve(known.T @ known + 10.0 * np.eye(known.shape[1]), known.T @ targets)
    accuracy = float(np.mean((unseen @ weights).argmax(1) == unseen_class))
    assert accuracy > 0.85
