"""Captions in the manner of AudioCaps, the attributes that they name, and the split each belongs to."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from audioptq.soundscapes.wording import WORDINGS
from audioptq.soundscapes.words import (
    COUNT_WORDS,
    INDOOR_PLACES,
    LEVEL_WORDS,
    OUTDOOR_PLACES,
    PITCH_WORDS,
    RATE_WORDS,
)

SPLITS = ("train", "calibration", "evaluation")
SINGLE_TEMPLATES = ("{present}", "{gerund}", "the sound of {gerund}")
WHILE_TEMPLATES = ("{first} while {second_present}", "{first} as {second_present}")
FOLLOWED_TEMPLATES = ("{first} followed by {second_gerund}", "{first} and then {second_gerund}")

_WORD = re.compile(r"[a-z']+")


@dataclass(frozen=True)
class Phrase:
    """One worded event: the two forms of its clause and the attributes that they name (None = not named)."""

    present: str
    gerund: str
    rate: float | None = None
    pitch: float | None = None
    level_db: float | None = None
    room: str | None = None
    count: int = 0


def words_of(caption: str) -> list[str]:
    """Lower-case words of a caption."""
    return _WORD.findall(caption.lower())


def split_of(caption: str) -> str:
    """Split that owns a caption: SHA-256 of its text modulo 20 (0, 1 evaluation; 2 calibration; the rest train)."""
    bucket = int.from_bytes(hashlib.sha256(caption.encode("utf-8")).digest(), "big") % 20
    return "evaluation" if bucket < 2 else "calibration" if bucket == 2 else "train"


@cache
def places_of(label: str) -> MappingProxyType[str, str | None]:
    """Places in which a class is heard, each with the room it means (None = no effect on the sound)."""
    wording = WORDINGS[label]
    places: dict[str, str | None] = dict(OUTDOOR_PLACES)
    if wording.indoor:
        places.update(INDOOR_PLACES)
    places.update(dict.fromkeys(wording.places))
    return MappingProxyType(places)


def manners_of(label: str) -> list[str]:
    """Adverbs that suit a class: loudness for all, tempo and number where they make sense."""
    wording = WORDINGS[label]
    rates = list(RATE_WORDS) if wording.rhythmic else []
    return [*LEVEL_WORDS, *rates, *(COUNT_WORDS if wording.countable else ())]


def make_phrase(label: str, subject: str, verbs: tuple[str, str], manner: str, place: str) -> Phrase:
    """Word one event from its parts; an empty manner or place is left out."""
    ending = "".join(f" {part}" for part in (manner, place) if part)
    pitches = [PITCH_WORDS[word] for word in subject.split() if word in PITCH_WORDS]
    return Phrase(
        present=f"{subject} {verbs[0]}{ending}",
        gerund=f"{subject} {verbs[1]}{ending}",
        rate=RATE_WORDS.get(manner),
        pitch=pitches[0] if pitches else None,
        level_db=LEVEL_WORDS.get(manner),
        room=places_of(label)[place] if place else None,
        count=COUNT_WORDS.get(manner, 0),
    )


def draw_phrase(label: str, rng: np.random.Generator, *, brief: bool = False) -> Phrase:
    """Draw the wording of one event; a brief one names a manner or a place, not both."""
    clauses = WORDINGS[label].clauses
    subjects, verbs = clauses[int(rng.integers(len(clauses)))]
    manners, places = manners_of(label), list(places_of(label))
    manner = manners[int(rng.integers(len(manners)))] if rng.random() < 0.4 else ""
    place = places[int(rng.integers(len(places)))] if rng.random() < 0.55 and not (brief and manner) else ""
    subject = subjects[int(rng.integers(len(subjects)))]
    return make_phrase(label, subject, verbs[int(rng.integers(len(verbs)))], manner, place)


def draw_caption(labels: tuple[str, ...], kind: str, rng: np.random.Generator) -> tuple[str, tuple[Phrase, ...]]:
    """Draw a caption of one or two events, with the phrases it is made of."""
    phrases = tuple(draw_phrase(label, rng, brief=len(labels) > 1) for label in labels)
    if kind == "single":
        template = SINGLE_TEMPLATES[int(rng.integers(len(SINGLE_TEMPLATES)))]
        text = template.format(present=phrases[0].present, gerund=phrases[0].gerund)
    else:
        templates = WHILE_TEMPLATES if kind == "while" else FOLLOWED_TEMPLATES
        template = templates[int(rng.integers(len(templates)))]
        first = phrases[0].present if kind == "while" and rng.random() < 0.5 else phrases[0].gerund
        text = template.format(first=first, second_present=phrases[1].present, second_gerund=phrases[1].gerund)
    return text[0].upper() + text[1:], phrases


def _vocabulary() -> tuple[str, ...]:
    """Words of every part that a caption can be put together from, sorted."""
    templates = (*SINGLE_TEMPLATES, *WHILE_TEMPLATES, *FOLLOWED_TEMPLATES)
    texts = [re.sub(r"\{\w+\}", " ", template) for template in templates]
    for label, wording in WORDINGS.items():
        texts += [*manners_of(label), *places_of(label)]
        for subjects, verbs in wording.clauses:
            texts += [*subjects, *(form for verb in verbs for form in verb)]
    return tuple(sorted({word for text in texts for word in words_of(text)}))


VOCABULARY: tuple[str, ...] = _vocabulary()
