import numpy as np
import pytest
from scipy.special import rel_entr, softmax

from audioptq.score.kl import EPSILON, kl_divergence


def test_hand_example() -> None:
    # p = (1/4, 3/4), q = (1/2, 1/2): 1/4 ln(1/2) + 3/4 ln(3/2) = 0.130812 nat; epsilon moves it by 2e-6.
    value = kl_divergence(target=np.log([[0.5, 0.5]]), generated=np.log([[0.25, 0.75]]))
    assert value[0] == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5), abs=3e-6)


def test_equal_logits_give_zero_up_to_epsilon() -> None:
    logits = 4 * np.random.default_rng(0).standard_normal((50, 16))
    values = kl_divergence(target=logits, generated=logits)
    assert (values <= 0).all()
    assert (values >= -16 * EPSILON).all()


def test_direction_is_generated_from_reference() -> None:
    certain, uncertain = np.array([[30.0, 0.0]]), np.array([[0.0, 0.0]])
    # A certain output for an uncertain reference costs ln 2; the reverse is punished for the class it leaves out.
    assert kl_divergence(target=uncertain, generated=certain)[0] == pytest.approx(np.log(2), abs=1e-5)
    # 1/2 ln(1/2) + 1/2 ln((1/2) / epsilon), the reference's second class being epsilon alone.
    expected = 0.5 * np.log(0.5) + 0.5 * np.log(0.5 / EPSILON)
    assert kl_divergence(target=certain, generated=uncertain)[0] == pytest.approx(expected, abs=1e-4)


def test_matches_the_formula_of_stable_audio_metrics_as_scipy_computes_it() -> None:
    reference, generated = np.random.default_rng(1).standard_normal((2, 5, 9))
    # torch's kl_div(log(ref + 1e-6), eval, reduction="sum") is the sum of eval * log(eval / (ref + 1e-6)).
    expected = rel_entr(softmax(generated, axis=1), softmax(reference, axis=1) + 1e-6).sum(axis=1)
    np.testing.assert_allclose(kl_divergence(target=reference, generated=generated), expected, atol=1e-12)


def test_constant_added_to_logits_changes_nothing_and_large_logits_stay_finite() -> None:
    reference, generated = 300 * np.random.default_rng(2).standard_normal((2, 4, 8))
    value = kl_divergence(target=reference, generated=generated)
    assert np.isfinite(value).all()
    np.testing.assert_allclose(kl_divergence(target=reference + 7, generated=generated - 1000), value, atol=1e-9)


@pytest.mark.parametrize("bad", [np.zeros((2, 4)), np.zeros(3), np.array([[0.0, np.nan, 0.0]])])
def test_bad_input_raises(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"clips, classes|not finite"):
        kl_divergence(target=np.zeros((1, 3)), generated=bad)


def test_reference_probabilities_are_used_as_they_are() -> None:
    reference, generated = np.random.default_rng(1).standard_normal((2, 5, 9))
    probabilities = softmax(reference, axis=1)
    expected = rel_entr(softmax(generated, axis=1), probabilities + 1e-6).sum(axis=1)
    found = kl_divergence(target_probabilities=probabilities, generated=generated)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found, kl_divergence(target=reference, generated=generated), atol=1e-12)


@pytest.mark.parametrize(
    "bad",
    [np.array([[0.5, 0.6]]), np.array([[-1.0, 2.0]]), np.zeros((1, 2)), np.array([[np.nan, 1.0]]), -np.ones((1, 2))],
    ids=["above one in all", "negative", "zero", "not a number", "a marker of failure"],
)
def test_what_are_no_probabilities_raises(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"sum to 1|not finite"):
        kl_divergence(target_probabilities=bad, generated=np.zeros((1, 2)))


def test_there_is_one_reference() -> None:
    half = np.full((1, 2), 0.5)
    for both in ({}, {"target": half, "target_probabilities": half}):
        with pytest.raises(ValueError, match="either target or target_probabilities"):
            kl_divergence(generated=half, **both)
