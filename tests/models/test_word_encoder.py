"""Captions as words: what is dropped, what is cut, and that padding is not heard."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audioptq.models.word_encoder import N_SPECIAL, PAD, START, WordEncoder, WordTokenizer, split_words

VOCABULARY = ("a", "dog", "barks", "dog's", "rain")


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(1)
    return WordEncoder(VOCABULARY, dim=16, depth=1, heads=2, max_length=6).eval()


def test_known_words_become_ids_and_unknown_ones_are_named():
    tokenizer = WordTokenizer(VOCABULARY, 6)
    ids = tokenizer(["A dog barks.", "a blue dog-barks; дождь", ""])
    known = [N_SPECIAL, N_SPECIAL + 1, N_SPECIAL + 2]
    assert ids.tolist() == [[START, *known, PAD, PAD], [START, *known, PAD, PAD], [START, PAD, PAD, PAD, PAD, PAD]]
    assert tokenizer.dropped("a blue dog-barks; blue sky") == ["blue", "blue", "sky"]
    assert tokenizer.dropped("the dog's rain") == ["the"]


@given(st.text())
def test_every_word_is_kept_or_dropped(caption):
    tokenizer = WordTokenizer(VOCABULARY, 1000)
    kept = int((tokenizer([caption]) != PAD).sum()) - 1
    assert kept + len(tokenizer.dropped(caption)) == len(split_words(caption))


def test_words_past_the_end_are_cut():
    tokenizer = WordTokenizer(VOCABULARY, 4)
    assert torch.equal(tokenizer(["a dog barks rain rain"]), tokenizer(["a dog barks"]))


def test_padding_is_zero_and_unheard(encoder):
    with torch.no_grad():
        alone, present = encoder(["a dog"])
        together, _ = encoder(["a dog", "a dog barks rain"])
    assert present.tolist() == [[True, True, True, False, False, False]]
    assert not alone[0, 3:].any()
    torch.testing.assert_close(together[:1], alone, rtol=1e-5, atol=1e-6)


def test_attention_does_not_reach_the_padding(encoder):
    other = copy.deepcopy(encoder)
    with torch.no_grad():
        other.position[3:] = other.position[3:].flip(1) * 50  # "a dog" and the start token fill the first three places
        torch.testing.assert_close(other(["a dog"])[0], encoder(["a dog"])[0], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(other(["a dog barks"])[0], encoder(["a dog barks"])[0], atol=1e-2)


def test_order_and_words_matter(encoder):
    with torch.no_grad():
        rows, _ = encoder(["a dog", "dog a", "a rain"])
    assert (rows[0] - rows[1]).abs().max() > 1e-2
    assert (rows[0] - rows[2]).abs().max() > 1e-2
