import numpy as np
import pytest

from audioptq.score.clap import clap_score


def test_parallel_is_one_opposite_is_minus_one_and_orthogonal_is_zero() -> None:
    text = np.array([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0]])
    audio = np.array([[0.6, 0.8], [-0.6, -0.8], [0.8, -0.6]])
    np.testing.assert_allclose(clap_score(target=text, generated=audio), [1, -1, 0], atol=1e-15)


def test_unit_embeddings_give_their_inner_product() -> None:
    rng = np.random.default_rng(0)
    text, audio = rng.standard_normal((2, 7, 16))
    text, audio = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (text, audio))
    np.testing.assert_allclose(clap_score(target=text, generated=audio), np.diag(text @ audio.T), atol=1e-14)


def test_never_leaves_its_range() -> None:
    text = np.random.default_rng(0).standard_normal((500, 3))
    assert clap_score(target=text, generated=text / 3).max() <= 1.0


@pytest.mark.parametrize(
    ("target", "generated"),
    [
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones(3), np.ones(3)),
        (np.ones((1, 3)), np.zeros((1, 3))),
        (np.ones((1, 3)), np.full((1, 3), np.nan)),
    ],
    ids=["dimensions differ", "one-dimensional", "zero embedding", "not a number"],
)
def test_bad_input_raises(target: np.ndarray, generated: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"clips, dim|zero or not finite"):
        clap_score(target=target, generated=generated)
