"""Captions: disjoint splits, enough wordings, closed vocabulary, words that mean what the event says."""

import hashlib
import itertools
import re

import numpy as np
import pytest

from audioptq.soundscapes import CLASSES, KINDS, SPLITS, VOCABULARY, draw_scene, split_of
from audioptq.soundscapes.captions import SINGLE_TEMPLATES, draw_phrase, make_phrase, manners_of, places_of, words_of
from audioptq.soundscapes.wording import WORDINGS
from audioptq.soundscapes.words import INDOOR_PLACES, OUTDOOR_PLACES, PITCH_WORDS


def single_captions(label):
    """Every caption that a single event of a class can have."""
    for subjects, verbs in WORDINGS[label].clauses:
        parts = (subjects, verbs, ("", *manners_of(label)), ("", *places_of(label)))
        for subject, verb, manner, place in itertools.product(*parts):
            phrase = make_phrase(label, subject, verb, manner, place)
            for template in SINGLE_TEMPLATES:
                text = template.format(present=phrase.present, gerund=phrase.gerund)
                yield text[0].upper() + text[1:]


def test_every_class_has_a_voice_and_a_wording():
    assert len(CLASSES) == len(set(CLASSES)) >= 26
    assert set(WORDINGS) == set(CLASSES)


def test_split_of_is_the_digest_rule():
    for caption in ("A dog barks", "Rain falling", "The sound of a bell tolling"):
        bucket = int(hashlib.sha256(caption.encode()).hexdigest(), 16) % 20
        expected = {0: "evaluation", 1: "evaluation", 2: "calibration"}.get(bucket, "train")
        assert split_of(caption) == expected


@pytest.mark.parametrize("label", CLASSES)
def test_each_class_has_many_wordings_in_every_split(label):
    captions = set(single_captions(label))
    assert len(captions) >= 80
    for split, least in (("train", 80), ("calibration", 10), ("evaluation", 20)):
        assert sum(split_of(caption) == split for caption in captions) >= least


def test_drawn_captions_belong_to_their_split_and_to_no_other():
    drawn = {split: {draw_scene(index, split=split, seed=3).caption for index in range(250)} for split in SPLITS}
    for split, captions in drawn.items():
        assert {split_of(caption) for caption in captions} == {split}
    assert not drawn["train"] & drawn["evaluation"]
    assert not drawn["train"] & drawn["calibration"]
    assert not drawn["calibration"] & drawn["evaluation"]


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_comes_up_in_every_split_with_several_wordings(split):
    for label in CLASSES:
        captions = {draw_scene(i, split=split, seed=0, kind="single", label=label).caption for i in range(12)}
        assert len(captions) >= 4, label


def test_single_captions_hold_what_draw_scene_words():
    for label in CLASSES:
        legal = set(single_captions(label))
        for index in range(5):
            assert draw_scene(index, split="train", seed=1, kind="single", label=label).caption in legal


def test_vocabulary_is_closed_sorted_and_small():
    assert list(VOCABULARY) == sorted(set(VOCABULARY))
    assert len(VOCABULARY) < 400
    assert all(re.fullmatch(r"[a-z']+", word) for word in VOCABULARY)
    for kind in KINDS:
        for index in range(150):
            caption = draw_scene(index, split="train", seed=8, kind=kind).caption
            words = words_of(caption)
            assert set(words) <= set(VOCABULARY)
            # The text encoder of the embedded model reads at most 20 tokens.
            assert len(words) <= 20, caption


def test_every_word_of_the_vocabulary_is_used():
    joined = " ".join(caption for label in CLASSES for caption in single_captions(label))
    unused = set(VOCABULARY) - set(words_of(joined))
    assert unused == {"while", "as", "followed", "by", "and", "then"} - set(words_of(joined))


def test_kind_shows_in_the_words():
    for index in range(20):
        both = draw_scene(index, split="train", seed=2, kind="while")
        assert re.search(r" (while|as) ", both.caption)
        after = draw_scene(index, split="train", seed=2, kind="followed_by")
        assert re.search(r" (followed by|and then) ", after.caption)


def test_named_attributes_set_the_event_and_unnamed_ones_stay_moderate():
    places = {**OUTDOOR_PLACES, **INDOOR_PLACES}
    seen = set()
    for index in range(600):
        scene = draw_scene(index, split="train", seed=4, kind="single")
        event, caption = scene.events[0], scene.caption
        named = [room for place, room in places.items() if caption.endswith(place)]
        if named:
            assert event.room in named
        else:
            assert event.room in ("dry", "near", "room")
        if re.search(r"\b(rapidly|quickly)\b", caption):
            assert event.rate > 1.5
        elif "slowly" in caption:
            assert event.rate < 0.7
        else:
            assert 0.75 < event.rate < 1.3
        assert event.count == (2 if "twice" in caption else 3 if "three times" in caption else 0)
        if "loudly" in caption:
            assert event.level_db >= -18.0
        elif re.search(r"\b(softly|quietly)\b", caption):
            assert event.level_db <= -26.0
        else:
            assert -23.0 <= event.level_db <= -18.0
        seen |= {word for word in ("slowly", "rapidly", "twice", "loudly", "softly") if word in caption}
    assert seen == {"slowly", "rapidly", "twice", "loudly", "softly"}


def test_size_words_of_the_subject_set_the_pitch_and_large_halls_do_not():
    rng = np.random.default_rng(0)
    phrases = [draw_phrase("dog", rng) for _ in range(300)]
    for phrase in phrases:
        if phrase.present.startswith("a small dog"):
            assert phrase.pitch == PITCH_WORDS["small"]
        elif phrase.present.startswith("a large dog"):
            assert phrase.pitch == PITCH_WORDS["large"]
        else:
            assert phrase.pitch is None
    assert any(phrase.pitch is None and "in a large hall" in phrase.present for phrase in phrases)
