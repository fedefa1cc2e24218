"""Distances of embeddings to full precision's own clips, and all metrics of a recipe scored at once."""

import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from audioptq.audio.clips import ListedClip
from audioptq.errors import UserError
from audioptq.files.artifacts import read_tensors, write_tensors
from audioptq.score import embeddings as embedding_files
from audioptq.score import table as registry
from audioptq.score.bootstrap import draw_counts
from audioptq.score.frechet.frechet import frechet_distance
from audioptq.score.kl import kl_divergence
from audioptq.score.run import score_metrics
from audioptq.score.table import METRICS, MetricInfo, set_table

TO_FP32 = ["kl_mini_fp32", "fd_mini_fp32"]


@pytest.fixture
def manifest(prompts) -> pd.DataFrame:
    return prompts[["clip_id"]].assign(status="ok")


def test_targets_do_not_depend_on_the_embedder() -> None:
    for metric in TO_FP32:
        own, other = METRICS[metric], METRICS[metric.removesuffix("_fp32")]
        assert (own.target, other.target) == ("fp32", "reference")
        assert (own.embedder, own.module, own.unit, own.set_level) == (
            other.embedder, other.module, other.unit, other.set_level,
        )  # fmt: skip


@pytest.mark.parametrize("metric", TO_FP32)
def test_full_precision_is_at_exactly_zero_from_itself(
    metric, manifest, prompts, make_embeddings, score_metric
) -> None:
    own = [make_embeddings(f"s{part[0]}", part) for part in np.split(prompts["clip_id"].to_numpy(), 2)]
    table, record = score_metric(metric, manifest=manifest, prompts=prompts, generated=own, target=own)
    assert (table["value"] == 0).all()
    assert record["n_scored"] == 6
    assert table["replicate"].notna().sum() == (200 if metric == "fd_mini_fp32" else 0)


def test_kl_to_full_precision_is_paired_by_clip_and_adds_nothing(
    manifest, prompts, make_embeddings, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    generated, target = make_embeddings("g", ids), make_embeddings("t", ids[::-1])
    tensors, metadata = read_tensors(target, framework="np")
    moved = {**tensors, "logits": tensors["logits"] * np.float32(1.01)}
    write_tensors(target, moved, metadata)
    table, record = score_metric("kl_mini_fp32", manifest=manifest, prompts=prompts, generated=generated, target=target)
    own = read_tensors(generated, framework="np")[0]["logits"]
    expected = kl_divergence(generated=own, target=moved["logits"][::-1], epsilon=0.0)
    np.testing.assert_array_equal(table["value"], expected)
    # The constant of `kl_mini` would take so small a distance below zero.
    assert kl_divergence(generated=own, target=moved["logits"][::-1]).min() < 0 < table["value"].min()
    assert (record["epsilon"], record["direction"]) == (0.0, "KL(generated||fp32)")


def test_fd_to_full_precision_draws_both_sides_of_a_clip_together(
    manifest, prompts, make_embeddings, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    paths = make_embeddings("g", ids, shift=1.0), make_embeddings("t", ids[::-1])
    table, record = score_metric(
        "fd_mini_fp32", manifest=manifest, prompts=prompts, generated=paths[0], target=paths[1], n_replicates=7
    )
    generated, target = (read_tensors(path, framework="np")[0]["windows"] for path in paths)
    # A shared reference is no reason to leave a clip out: every clip of full precision counts.
    assert (record["n_references"], record["n_reference_windows"], record["n_windows"]) == (6, 18, 18)
    assert table["value"][0] == pytest.approx(frechet_distance(target=target, generated=generated), rel=1e-9)
    counts = draw_counts(["r0", "r0", "r1", "r2", "r3", "r4"], 7, seed=0)
    for value, count in zip(table["value"][1:], counts, strict=True):
        drawn = np.repeat(generated, np.repeat(count, 3), axis=0), np.repeat(target, np.repeat(count[::-1], 3), axis=0)
        assert value == pytest.approx(frechet_distance(target=drawn[1], generated=drawn[0]), rel=1e-6)


@pytest.mark.parametrize("metric", TO_FP32)
def test_a_clip_that_either_side_lacks_is_in_neither_set(
    metric, manifest, prompts, make_embeddings, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    manifest.loc[0, "status"] = "silent"
    generated = make_embeddings("g", ids[1:], excluded={ids[0]: "silent"}, shift=0.5)
    target = make_embeddings("t", ids[:-1], excluded={ids[-1]: "non_finite"})
    table, record = score_metric(metric, manifest=manifest, prompts=prompts, generated=generated, target=target)
    assert record["not_scored"] == {ids[0]: "silent", ids[-1]: "fp32: non_finite"}
    if metric == "fd_mini_fp32":
        windows = [read_tensors(path, framework="np")[0]["windows"] for path in (target, generated)]
        expected = frechet_distance(target=windows[0][3:], generated=windows[1][:-3])
        assert table["value"][0] == pytest.approx(expected, rel=1e-9)


def test_all_metrics_at_once_are_those_of_each_alone_and_read_each_file_once(
    make_manifest, prompts, make_embeddings, score_metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = prompts["clip_id"].tolist()
    generated, other = make_embeddings("g", ids, shift=0.3), make_embeddings("t", ids)
    clips = {"manifest": make_manifest("w8", error=0.2), "baseline": make_manifest("fp32"), "prompts": prompts}
    files = {"generated": [generated], "references": other, "fp32": [other]}
    given = {"tagger_mini": files, "clap_mini": {"generated": [generated], "captions": other}}
    metrics = ["lsd_db", "fd_mini", "kl_mini_fp32", "clap_mini", "mcd_db", "fd_mini_fp32", "kl_mini", "mcd_dtw_db"]
    alone = {
        metric: score_metric(metric, **clips)
        if METRICS[metric].embedder is None
        else score_metric(metric, generated=generated, target=other, **clips)
        for metric in metrics
    }
    reads: Counter[str] = Counter()
    read_file, read_clip = embedding_files.read_tensors, ListedClip.read
    monkeypatch.setattr(
        embedding_files, "read_tensors", lambda path, **how: (reads.update([path]), read_file(path, **how))[1]
    )
    monkeypatch.setattr(ListedClip, "read", lambda clip: (reads.update([clip.path]), read_clip(clip))[1])
    together = score_metrics(metrics, embeddings=given, **clips)
    assert list(together) == metrics
    for metric in metrics:
        pd.testing.assert_frame_equal(together[metric][0], alone[metric][0])
        assert together[metric][1] == alone[metric][1]
    # The two evaluators share their files here, and each reads for itself.
    assert set(reads.values()) == {1, 2}
    assert {str(path) for path, times in reads.items() if times == 2} == {str(generated), str(other)}
    assert len(reads) == 2 + 2 * len(ids)


def test_a_metric_may_compare_with_nothing(
    manifest, prompts, make_embeddings, score_metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spread:
        TENSORS = {"generated": (("logits",),)}  # noqa: RUF012

        @staticmethod
        def score(metric, inputs):
            assert inputs.target is None
            return set_table(
                metric, estimate=float(inputs.generated.tensors["logits"].std()), replicates=[], notes={}
            ), {}

    info = MetricInfo("1", True, "none", "Spread", "spread", embedder="tagger_mini", set_level=True)
    monkeypatch.setitem(registry.METRICS, "spread_mini", info)
    monkeypatch.setitem(sys.modules, "audioptq.score.spread", Spread)
    generated = make_embeddings("g", prompts["clip_id"].tolist())
    files = {"tagger_mini": {"generated": generated}}
    scored = score_metrics(["spread_mini"], manifest=manifest, prompts=prompts, embeddings=files)
    assert scored["spread_mini"][0]["value"].item() > 0
    with pytest.raises(UserError, match=r"kl_mini_fp32 has the target 'fp32': give it the 'fp32' files of tagger_mini"):
        score_metrics(["kl_mini_fp32"], manifest=manifest, prompts=prompts, embeddings=files)
