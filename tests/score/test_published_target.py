"""Scores against published statistics in place of reference embeddings, and from several embedding files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audioptq.errors import DamagedArtifactError
from audioptq.files.artifacts import read_tensors, write_tensors
from audioptq.score.bootstrap import draw_counts
from audioptq.score.frechet.frechet import frechet_distance

CLASSES = 4


@pytest.fixture
def manifest(prompts) -> pd.DataFrame:
    return prompts[["clip_id"]].assign(status="ok")


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def write_probabilities(path: Path, source: Path, excluded: dict[str, str], change=None) -> Path:
    """The target file of a converted publication: softmax of `source`'s logits, without the excluded clips."""
    tensors, metadata = read_tensors(source, framework="np")
    kept = [row for row, clip_id in enumerate(metadata["clip_ids"]) if clip_id not in excluded]
    rows = softmax(tensors["logits"].astype(np.float64))[kept].astype(np.float32)
    if change is not None:
        change(rows)
    ids = [metadata["clip_ids"][row] for row in kept]
    write_tensors(path, {"probabilities": rows}, {"embedder": "mini", "clip_ids": ids, "excluded": excluded})
    return path


def test_kl_of_probabilities_is_that_of_their_logits(
    tmp_path, manifest, prompts, make_embeddings, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    # The generator's classes have names, the publication's have none.
    generated, target = (make_embeddings(name, ids, classes=["a"]) for name in ("g", "t"))
    tensors, metadata = read_tensors(generated, framework="np")
    write_tensors(generated, {**tensors, "logits": tensors["logits"][::-1].copy()}, metadata)
    published = write_probabilities(tmp_path / "p.safetensors", target, {})
    common = {"manifest": manifest, "prompts": prompts, "generated": generated}
    from_logits, _ = score_metric("kl_mini", target=target, **common)
    found, metadata = score_metric("kl_mini", target=published, **common)
    assert from_logits["value"].min() > 0.01
    np.testing.assert_allclose(found["value"], from_logits["value"], rtol=1e-5)  # float32 probabilities
    assert metadata["reference"] == "published probabilities"


def test_clips_without_a_published_row_are_counted_and_named(
    tmp_path, manifest, prompts, make_embeddings, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    files = make_embeddings("g", ids), make_embeddings("t", ids)
    published = write_probabilities(tmp_path / "p.safetensors", files[1], {ids[1]: "no reference"})
    _, metadata = score_metric("kl_mini", manifest=manifest, prompts=prompts, generated=files[0], target=published)
    assert metadata["not_scored"] == {ids[1]: "no reference"}


@pytest.mark.parametrize("bad", [-1.0, 0.5, 2.0], ids=["a marker of failure", "not one in all", "above one"])
def test_rows_that_are_no_probabilities_are_refused(
    tmp_path, manifest, prompts, make_embeddings, bad, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    files = make_embeddings("g", ids), make_embeddings("t", ids)
    published = write_probabilities(
        tmp_path / "p.safetensors", files[1], {}, lambda rows: rows.__setitem__((4, slice(None)), bad)
    )
    with pytest.raises(DamagedArtifactError, match=r"p\.safetensors.*'e5'.*do not sum to 1"):
        score_metric("kl_mini", manifest=manifest, prompts=prompts, generated=files[0], target=published)


def test_zero_and_nan_rows_enter_no_average(tmp_path, manifest, prompts, make_embeddings, score_metric) -> None:
    ids = prompts["clip_id"].tolist()
    files = make_embeddings("g", ids), make_embeddings("t", ids)

    def damage(rows: np.ndarray) -> None:
        rows[0], rows[1] = 0.0, np.nan

    published = write_probabilities(tmp_path / "p.safetensors", files[1], {}, damage)
    tensors, metadata = read_tensors(files[0], framework="np")
    tensors["audio"][2], tensors["windows"][6:9] = 0, 0
    write_tensors(files[0], tensors, metadata)
    common = {"manifest": manifest, "prompts": prompts, "generated": files[0]}
    kl, kl_record = score_metric("kl_mini", target=published, **common)
    assert kl_record["not_scored"] == {ids[0]: "embedding: zero", ids[1]: "embedding: non_finite"}
    assert np.isfinite(kl["value"].dropna()).all()
    for metric in ("clap_mini", "fd_mini"):
        table, record = score_metric(metric, target=files[1], **common)
        assert record["not_scored"] == {ids[2]: "embedding: zero"}
        assert np.isfinite(table["value"].dropna()).all()


def write_statistics(path: Path, windows: np.ndarray, **metadata: object) -> Path:
    array = windows.astype(np.float64)
    tensors = {"mean": array.mean(axis=0), "covariance": np.cov(array, rowvar=False)}
    write_tensors(path, tensors, {"embedder": "mini", "n_windows": None, **metadata})
    return path


def test_fd_to_published_statistics_is_that_to_their_windows(
    tmp_path, manifest, prompts, make_embeddings, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    generated = make_embeddings("g", ids, shift=1.0)
    reference = np.random.default_rng(3).standard_normal((40, 4))
    target = write_statistics(tmp_path / "s.safetensors", reference)
    table, record = score_metric(
        "fd_mini", manifest=manifest, prompts=prompts, generated=generated, target=target, n_replicates=5
    )
    windows = read_tensors(generated, framework="np")[0]["windows"]
    estimate = table.loc[table["replicate"].isna(), "value"].item()
    assert estimate == pytest.approx(frechet_distance(target=reference, generated=windows), rel=1e-9)
    assert (record["n_reference_windows"], record["n_references"]) == (None, None)
    assert (record["reference_in_bootstrap"], record["bootstrap"]) == ("fixed", "refitted")
    # A draw repeats the clips of a reference and never the reference.
    counts = draw_counts(["r0", "r0", "r1", "r2", "r3", "r4"], 5, seed=0)
    for value, count in zip(table.loc[table["replicate"].notna(), "value"], counts, strict=False):
        drawn = np.repeat(windows, np.repeat(count, 3), axis=0)
        assert value == pytest.approx(frechet_distance(target=reference, generated=drawn), rel=1e-6)


def test_large_dimensions_are_linearised_and_say_so(
    tmp_path, manifest, prompts, make_embeddings, monkeypatch: pytest.MonkeyPatch, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    files = {"generated": make_embeddings("g", ids, shift=1.0), "target": make_embeddings("t", ids)}
    common = {"manifest": manifest, "prompts": prompts, "n_replicates": 30}
    refitted, record = score_metric("fd_mini", **files, **common)
    assert record["bootstrap"] == "refitted"
    monkeypatch.setattr("audioptq.score.frechet.bootstrap_exact.MAX_REFIT_FLOP", 0)
    linear, record = score_metric("fd_mini", **files, **common)
    assert (record["bootstrap"], record["reference_in_bootstrap"]) == ("linearised", "drawn with its clips")
    assert linear["value"][0] == refitted["value"][0]
    assert linear["value"].notna().all()
    assert linear["value"][1:].nunique() > 20
    windows = read_tensors(files["target"], framework="np")[0]["windows"]
    fixed, record = score_metric(
        "fd_mini", **{**files, "target": write_statistics(tmp_path / "s.safetensors", windows)}, **common
    )
    assert (record["bootstrap"], record["reference_in_bootstrap"]) == ("linearised", "fixed")
    assert fixed["value"].notna().all()
    _, record = score_metric("fd_mini", **files, **{**common, "n_replicates": 0})
    assert record["bootstrap"] is None


def test_statistics_of_another_network_are_refused(tmp_path, manifest, prompts, make_embeddings, score_metric) -> None:
    generated = make_embeddings("g", prompts["clip_id"].tolist(), frontend="kapre")
    common = {"manifest": manifest, "prompts": prompts, "generated": generated}
    windows = np.random.default_rng(3).standard_normal((40, 5))
    wider = write_statistics(tmp_path / "wider.safetensors", windows)
    with pytest.raises(DamagedArtifactError, match=r"dimension of its windows is 4, that of .*wider\.safetensors 5"):
        score_metric("fd_mini", target=wider, **common)
    other = write_statistics(tmp_path / "other.safetensors", windows[:, :4], embedder="openl3")
    with pytest.raises(DamagedArtifactError, match=r"embedder is 'mini', that of .*other\.safetensors is 'openl3'"):
        score_metric("fd_mini", target=other, **common)
    variant = write_statistics(tmp_path / "variant.safetensors", windows[:, :4], frontend="librosa")
    with pytest.raises(DamagedArtifactError, match=r"its frontend and those of .*variant\.safetensors are not"):
        score_metric("fd_mini", target=variant, **common)


@pytest.mark.parametrize("metric", ["clap_mini", "kl_mini", "fd_mini"])
def test_shards_score_as_the_whole_does(metric, manifest, prompts, make_embeddings, score_metric) -> None:
    ids = prompts["clip_id"].tolist()
    common = {"manifest": manifest, "prompts": prompts, "target": make_embeddings("t", ids), "n_replicates": 5}
    whole, _ = score_metric(metric, generated=make_embeddings("g", ids, shift=0.3), **common)
    shards = [make_embeddings(f"s{part[0]}", part, shift=0.3) for part in (ids[4:], ids[:1], ids[1:4])]
    parts, _ = score_metric(metric, generated=shards, **common)
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-9)
    with pytest.raises(DamagedArtifactError, match="1 of 6 clips are missing"):
        score_metric(metric, generated=[shards[0], shards[2]], **common)


def test_audiocaps_counts(tmp_path, score_metric) -> None:
    """4,875 captions of 975 references, 94 of which could not be had: 4,405 captions with one."""
    ids = [str(100000 + index) for index in range(4875)]
    references = [f"yt{index // 5}" for index in range(4875)]
    prompts = pd.DataFrame({"clip_id": ids, "reference_id": references})
    absent = {clip_id: "no reference" for clip_id, name in zip(ids, references, strict=True) if int(name[2:]) % 10 == 7}
    absent = dict(list(absent.items())[: 94 * 5])
    logits = np.random.default_rng(0).standard_normal((4875, CLASSES)).astype(np.float32)
    write_tensors(tmp_path / "g.safetensors", {"logits": logits}, {"embedder": "mini", "clip_ids": ids, "excluded": {}})
    published = write_probabilities(tmp_path / "p.safetensors", tmp_path / "g.safetensors", absent)
    table, record = score_metric(
        "kl_mini", manifest=prompts[["clip_id"]].assign(status="ok"), prompts=prompts,
        generated=tmp_path / "g.safetensors", target=published,
    )  # fmt: skip
    assert (record["n_clips"], record["n_scored"], table["value"].notna().sum()) == (4875, 4405, 4405)
    assert set(record["not_scored"].values()) == {"no reference"}
