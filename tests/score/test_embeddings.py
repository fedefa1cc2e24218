from pathlib import Path

import numpy as np
import pytest

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import read_tensors, write_tensors
from audioptq.score.embeddings import Embeddings
from audioptq.score.frechet.windows import Gaussian

WINDOWS = (("windows", "window_row"),)


def change(path: Path, **tensors) -> Path:
    """Replaces tensors of an embedding file."""
    old, metadata = read_tensors(path, framework="np")
    write_tensors(path, {**old, **tensors}, metadata)
    return path


def test_shards_are_one_set_of_rows(make_embeddings) -> None:
    ids = ["a", "b", "c", "d"]
    whole = Embeddings.read(make_embeddings("whole", ids), WINDOWS)
    parts = [make_embeddings("one", ids[:1]), make_embeddings("two", ids[1:3], excluded={"e": "silent"})]
    joined = Embeddings.read([*parts, make_embeddings("three", ids[3:])], WINDOWS)
    assert joined.clip_ids == tuple(ids)
    assert joined.excluded == {"e": "silent"}
    for name in whole.tensors:
        np.testing.assert_array_equal(joined.tensors[name], whole.tensors[name])
    assert joined.tensors["windows"].dtype == np.float32
    assert "one.safetensors and 2 more files" in joined.path


def test_shards_that_do_not_go_together_name_both_files(make_embeddings) -> None:
    first = make_embeddings("first", ["a", "b"])
    for name, other, why in (
        ("twice", make_embeddings("twice", ["c", "b"]), "'b' is also in"),
        ("left_out", make_embeddings("left_out", ["c"], excluded={"a": "silent"}), "'a' is also in"),
        ("foreign", make_embeddings("foreign", ["c"], embedder="passt"), "embedder is 'passt'"),
        ("variant", make_embeddings("variant", ["c"], frontend="linear"), "frontend is 'linear'"),
        ("wider", make_embeddings("wider", ["c"], dim=7), "shape"),
    ):
        with pytest.raises(DamagedArtifactError, match=rf"{name}\.safetensors.*{why}.*first\.safetensors"):
            Embeddings.read([first, other], WINDOWS)
    with pytest.raises(UserError, match="no embedding file"):
        Embeddings.read([], WINDOWS)


def test_what_differs_from_clip_to_clip_may_differ_between_shards(make_embeddings) -> None:
    shards = [make_embeddings(clip, [clip], audio_sha256=[clip], dropped_words=[1]) for clip in ("a", "b")]
    assert Embeddings.read(shards, WINDOWS).metadata == {"embedder": "mini"}


def test_rows_that_mean_nothing_are_excluded(make_embeddings) -> None:
    ids = ["zero", "nan", "good", "bare"]
    path = make_embeddings("g", ids)
    tensors, _ = read_tensors(path, framework="np")
    audio, windows = tensors["audio"].copy(), tensors["windows"].copy()
    audio[0], audio[1, 2] = 0, np.nan
    windows[0:3], windows[4, 1] = 0, np.inf
    kept = tensors["window_row"] < 3  # the last clip has no window
    change(path, audio=audio, windows=windows[kept], window_row=tensors["window_row"][kept])
    assert Embeddings.read(path, (("audio",),)).excluded == {"zero": "embedding: zero", "nan": "embedding: non_finite"}
    assert Embeddings.read(path, WINDOWS).excluded == {
        "zero": "embedding: zero", "nan": "embedding: non_finite", "bare": "embedding: no windows",
    }  # fmt: skip


def test_a_single_silent_window_does_not_exclude_its_clip(make_embeddings) -> None:
    path = make_embeddings("g", ["a", "b"])
    windows = read_tensors(path, framework="np")[0]["windows"].copy()
    windows[1] = 0
    assert Embeddings.read(change(path, windows=windows), WINDOWS).excluded == {}


def test_a_file_gives_one_answer(make_embeddings) -> None:
    path = change(make_embeddings("t", ["a"]), probabilities=np.ones((1, 4), dtype=np.float32))
    both = (("logits",), ("probabilities",))
    with pytest.raises(DamagedArtifactError, match=r"t\.safetensors.*logits and probabilities"):
        Embeddings.read(path, both)
    with pytest.raises(DamagedArtifactError, match="no tensor 'mean' and no tensor 'sum'"):
        Embeddings.read(path, (("mean",), ("sum",)))


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (np.zeros(3), np.eye(4), "shape"),
        (np.zeros((3, 1)), np.eye(3), "shape"),
        (np.array([0, np.nan, 0]), np.eye(3), "not finite"),
        (np.zeros(3), np.full((3, 3), np.inf), "not finite"),
        (np.zeros(3), np.zeros((3, 3)), "all zero"),
        (np.zeros(3), np.eye(3) + np.triu(np.ones((3, 3))), "not symmetric"),
        (np.zeros(3), np.diag([1.0, 1.0, -1.0]), "negative eigenvalues"),
    ],
)
def test_statistics_that_no_set_has_are_refused(tmp_path, mean, covariance, message) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"mean": mean, "covariance": covariance}, {"embedder": "openl3", "n_windows": None})
    with pytest.raises(DamagedArtifactError, match=rf"t\.safetensors.*{message}"):
        Gaussian.of_statistics(Embeddings.read(path, (("mean", "covariance"),)))
