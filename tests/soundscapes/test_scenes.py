"""Scenes: deterministic, in the asked mix, and strict about what they are asked."""

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from audioptq.errors import UserError
from audioptq.soundscapes import CLASSES, draw_scene, render, scenes

PROGRAM = """
import hashlib
from audioptq.soundscapes import draw_scene, render
digest = hashlib.sha256()
for index in range(6):
    scene = draw_scene(index, split="train", seed=11)
    digest.update(repr(scene).encode() + render(scene).tobytes())
print(digest.hexdigest())
"""


def test_another_process_draws_and_renders_the_same():
    digest = hashlib.sha256()
    for index in range(6):
        scene = draw_scene(index, split="train", seed=11)
        digest.update(repr(scene).encode() + render(scene).tobytes())
    # A different hash seed would change anything that rested on hash().
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "4242", "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip() == digest.hexdigest()


@pytest.mark.parametrize(
    "change", [{"index": 1}, {"seed": 1}, {"split": "evaluation"}, {"kind": "single"}, {"seconds_total": 2.0}]
)
def test_every_argument_matters(change):
    arguments = {"index": 0, "split": "train", "seed": 0, "kind": None, "seconds_total": 4.096}
    plain, other = arguments, {**arguments, **change}
    assert draw_scene(plain.pop("index"), **plain) != draw_scene(other.pop("index"), **other)


def test_default_mix_is_eighty_ten_ten_and_reaches_every_class():
    drawn = [draw_scene(index, split="train", seed=5) for index in range(1000)]
    shares = Counter(scene.kind for scene in drawn)
    # Three standard deviations of a binomial share of 1000 draws: 0.038 at 0.8, 0.028 at 0.1.
    assert shares["single"] / 1000 == pytest.approx(0.8, abs=0.038)
    assert shares["while"] / 1000 == pytest.approx(0.1, abs=0.028)
    assert shares["followed_by"] / 1000 == pytest.approx(0.1, abs=0.028)
    assert {scene.labels[0] for scene in drawn} == set(CLASSES)


@pytest.mark.parametrize("kind", ["while", "followed_by"])
def test_two_different_sounds_in_the_captions_order(kind):
    for index in range(40):
        scene = draw_scene(index, split="train", seed=6, kind=kind, label="bell")
        assert scene.labels[0] == "bell"
        assert len(set(scene.labels)) == 2
        assert tuple(event.label for event in scene.events) == scene.labels


def test_spans_of_the_kinds():
    single = draw_scene(0, split="train", seed=0, kind="single").events[0]
    assert (single.onset_seconds, single.duration_seconds) == (0.0, 4.096)
    for event in draw_scene(0, split="train", seed=0, kind="while").events:
        assert (event.onset_seconds, event.duration_seconds) == (0.0, 4.096)
    first, second = draw_scene(0, split="train", seed=0, kind="followed_by").events
    assert first.onset_seconds + first.duration_seconds <= 2.048 <= second.onset_seconds
    assert second.onset_seconds + second.duration_seconds == pytest.approx(4.096)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tarin"}, "Did you mean 'train'"),
        ({"kind": "followed"}, "Did you mean 'followed_by'"),
        ({"label": "sirens"}, "Did you mean 'siren'"),
        ({"index": -1}, "numbered from 0"),
        ({"seconds_total": 0.2}, "seconds_total is 0.2"),
        ({"seconds_total": float("nan")}, "seconds_total is nan"),
        ({"seconds_total": 1e6}, "seconds_total"),
    ],
)
def test_bad_arguments_are_user_errors(arguments, message):
    values = {"index": 0, "split": "train", "seed": 0, **arguments}
    with pytest.raises(UserError, match=message):
        draw_scene(values.pop("index"), **values)


def test_a_split_without_wordings_ends_in_a_clear_error(monkeypatch):
    monkeypatch.setattr(scenes, "split_of", lambda caption: "train")
    with pytest.raises(UserError, match="held none of the split 'calibration'"):
        draw_scene(0, split="calibration", seed=0, kind="single", label="dog")


def test_scenes_are_immutable():
    scene = draw_scene(0, split="train", seed=0)
    with pytest.raises(AttributeError):
        scene.caption = "A lion roars"  # type: ignore[misc]


def test_numpy_indices_are_as_good_as_plain_ones():
    assert draw_scene(np.int64(3), split="train", seed=np.int64(1)) == draw_scene(3, split="train", seed=1)
