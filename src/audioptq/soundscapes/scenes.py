"""Scenes: a caption with the events that it describes, drawn without any state."""

import hashlib
import json
import math
from dataclasses import dataclass

import numpy as np

from audioptq.errors import UserError, did_you_mean
from audioptq.soundscapes.captions import SPLITS, Phrase, draw_caption, split_of
from audioptq.soundscapes.classes import CLASSES
from audioptq.soundscapes.events import Event

KINDS = ("single", "while", "followed_by")
KIND_SHARES = (0.8, 0.1, 0.1)
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 60.0
MAX_WORDINGS = 2000


@dataclass(frozen=True)
class Scene:
    """A caption and what sounds.

    Attributes:
        caption: The words.
        kind: `single`, `while` (two events together) or `followed_by` (one after the other).
        labels: Sound classes in the caption's order.
        events: One event per label.
        seconds_total: Length of the clip.
        seed: Seed of what is common to the clip (its noise floor).
    """

    caption: str
    kind: str
    labels: tuple[str, ...]
    events: tuple[Event, ...]
    seconds_total: float
    seed: int


def _check(name: str, value: str, legal: tuple[str, ...]) -> None:
    """Raise a UserError that names the nearest legal value."""
    if value not in legal:
        hint = did_you_mean(value, legal)
        raise UserError(f"draw_scene: {name} {value!r} is not one of {', '.join(legal)}.{hint}")


def _span(kind: str, position: int, seconds_total: float) -> tuple[float, float]:
    """Onset and duration in seconds of an event: the whole scene, or its half of it."""
    if kind != "followed_by":
        return 0.0, seconds_total
    return (0.0, 0.48 * seconds_total) if position == 0 else (0.52 * seconds_total, 0.48 * seconds_total)


def _event(label: str, phrase: Phrase, span: tuple[float, float], rng: np.random.Generator) -> Event:
    """Turn a phrase into an event: what it names is set (within a few per cent), the rest is moderate chance."""
    rate = phrase.rate if phrase.rate is not None else math.exp(rng.uniform(-0.15, 0.15))
    pitch = phrase.pitch if phrase.pitch is not None else math.exp(rng.uniform(-0.08, 0.08))
    unnamed_room = ("dry", "dry", "near", "room")[int(rng.integers(4))]
    return Event(
        label=label,
        onset_seconds=span[0],
        duration_seconds=span[1],
        level_db=float(rng.uniform(-23.0, -18.0)) + (phrase.level_db or 0.0),
        rate=rate * math.exp(rng.uniform(-0.05, 0.05)),
        pitch=pitch * math.exp(rng.uniform(-0.03, 0.03)),
        room=phrase.room or unnamed_room,
        count=phrase.count,
        seed=int(rng.integers(2**63)),
    )


def draw_scene(
    index: int,
    *,
    split: str,
    seed: int,
    kind: str | None = None,
    label: str | None = None,
    seconds_total: float = 4.096,
) -> Scene:
    """Draw scene number `index` of a split: the same arguments always give the same scene.

    The generator is seeded with the SHA-256 of the arguments. The wording is drawn again until `split_of(caption)`
    is the split asked for, so that no caption is ever in two splits.

    Args:
        index: Number of the scene, from 0.
        split: `train`, `calibration` or `evaluation`.
        seed: Seed of the whole set.
        kind: `single`, `while` or `followed_by`; None draws 80, 10 and 10 %.
        label: Class of the first event; None draws one.
        seconds_total: Length in seconds, 1 to 60.

    Raises:
        UserError: An unknown split, kind or label, a negative index, or a length out of range.
    """
    _check("split", split, SPLITS)
    if kind is not None:
        _check("kind", kind, KINDS)
    if label is not None:
        _check("label", label, CLASSES)
    if index < 0:
        raise UserError(f"draw_scene: index is {index}; scenes are numbered from 0.")
    if not SHORTEST_SECONDS <= seconds_total <= LONGEST_SECONDS:
        raise UserError(f"draw_scene: seconds_total is {seconds_total}; give {SHORTEST_SECONDS} to {LONGEST_SECONDS}.")
    arguments = json.dumps([int(index), split, int(seed), kind, label, float(seconds_total)])
    entropy = int.from_bytes(hashlib.sha256(arguments.encode("ascii")).digest(), "big")
    rng = np.random.default_rng(entropy)
    chosen = kind or str(rng.choice(KINDS, p=KIND_SHARES))
    first = label or CLASSES[int(rng.integers(len(CLASSES)))]
    others = [name for name in CLASSES if name != first]
    labels = (first,) if chosen == "single" else (first, others[int(rng.integers(len(others)))])
    for _ in range(MAX_WORDINGS):
        caption, phrases = draw_caption(labels, chosen, rng)
        if split_of(caption) == split:
            break
    else:
        raise UserError(f"draw_scene: {MAX_WORDINGS} wordings of {labels} held none of the split {split!r}.")
    events = tuple(
        _event(name, phrase, _span(chosen, position, seconds_total), rng)
        for position, (name, phrase) in enumerate(zip(labels, phrases, strict=True))
    )
    return Scene(caption, chosen, labels, events, float(seconds_total), int(rng.integers(2**63)))
