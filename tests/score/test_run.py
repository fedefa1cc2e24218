import shutil

import numpy as np
import pandas as pd
import pytest

from audioptq.audio.manifest import read_manifest
from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import file_digest, read_parquet, read_tensors, write_parquet, write_tensors
from audioptq.score.frechet.frechet import frechet_distance
from audioptq.score.lsd import lsd_db
from audioptq.score.spectra import CepstralSettings
from audioptq.score.table import METRICS

AUDIO = [metric for metric, info in METRICS.items() if info.embedder is None]
EMBEDDED = [metric for metric, info in METRICS.items() if info.embedder is not None]


@pytest.fixture
def manifest(make_manifest) -> pd.DataFrame:
    return make_manifest("w4a4", error=0.5)


def rewrite(path, change) -> None:
    tensors, metadata = read_tensors(path, framework="np")
    change(tensors, metadata)
    write_tensors(path, tensors, metadata)


@pytest.mark.parametrize("metric", EMBEDDED)
def test_row_order_of_files_changes_nothing(metric, manifest, prompts, make_embeddings, score_metric) -> None:
    ids = prompts["clip_id"].tolist()
    first, _ = score_metric(
        metric,
        manifest=manifest,
        prompts=prompts,
        generated=make_embeddings("g1", ids, shift=0.3),
        target=make_embeddings("t1", ids),
    )
    second, _ = score_metric(
        metric,
        manifest=manifest.sample(frac=1, random_state=1),
        prompts=prompts.sample(frac=1, random_state=2),
        generated=make_embeddings("g2", ids[::-1], shift=0.3),
        target=make_embeddings("t2", ids[3:] + ids[:3]),
    )
    keys = ["clip_id", "replicate"]
    first, second = (frame.sort_values(keys).reset_index(drop=True) for frame in (first, second))
    pd.testing.assert_frame_equal(first, second, rtol=1e-9)
    assert first["value"].notna().all()


@pytest.mark.parametrize("metric", EMBEDDED)
def test_excluded_and_failed_clips_are_rows_with_a_reason(
    metric, manifest, prompts, make_embeddings, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    manifest.loc[0, "status"] = "silent"
    manifest.loc[[1, 2], "status"] = "clipped"  # the third cannot be embedded and so does not count as scored
    generated = make_embeddings("g", ids[1:], excluded={ids[0]: "silent", ids[2]: "too short"})
    rewrite(generated, lambda tensors, _: [tensors[name].__setitem__(3, np.nan) for name in ("logits", "audio")])
    rewrite(generated, lambda tensors, _: tensors["windows"].__setitem__(slice(9, 10), np.nan))
    table, metadata = score_metric(
        metric, manifest=manifest, prompts=prompts, generated=generated, target=make_embeddings("t", ids)
    )
    expected = {ids[0]: "silent", ids[2]: "too short", ids[4]: "embedding: non_finite"}
    assert metadata["not_scored"] == expected
    assert (metadata["n_clips"], metadata["n_scored"], metadata["n_clipped"], metadata["n_failed"]) == (6, 3, 1, 1)
    absent = table[table["clip_id"].isin(list(expected))]
    assert absent["value"].isna().all()
    assert absent.set_index("clip_id")["note"].to_dict() == expected
    assert np.isfinite(table["value"].dropna()).all()


def test_kl_leaves_out_clips_without_reference_and_fd_keeps_them(
    manifest, prompts, make_embeddings, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    files = {
        "generated": make_embeddings("g", ids),
        "target": make_embeddings("t", ids[:-1], excluded={ids[-1]: "unavailable"}),
    }
    table, metadata = score_metric("kl_mini", manifest=manifest, prompts=prompts, **files)
    assert metadata["not_scored"] == {ids[-1]: "reference: unavailable"}
    assert metadata["direction"] == "KL(generated||reference)"
    np.testing.assert_allclose(table["value"].dropna(), 0, atol=1e-5)
    _, metadata = score_metric("fd_mini", manifest=manifest, prompts=prompts, **files)
    assert metadata["n_scored"] == 6
    assert (metadata["n_windows"], metadata["n_references"]) == (18, 4)


def test_fd_counts_a_shared_reference_once_and_has_replicates(manifest, prompts, make_embeddings, score_metric) -> None:
    ids = prompts["clip_id"].tolist()
    paths = make_embeddings("g", ids, shift=1.0), make_embeddings("t", ids)
    table, metadata = score_metric(
        "fd_mini", manifest=manifest, prompts=prompts, generated=paths[0], target=paths[1], n_replicates=7
    )
    generated, target = (read_tensors(path, framework="np")[0]["windows"] for path in paths)
    shared = np.delete(target, np.s_[3:6], axis=0)  # the second clip's reference is the first's
    estimate = table[table["replicate"].isna()]
    assert estimate["value"].item() == pytest.approx(frechet_distance(target=shared, generated=generated), rel=1e-9)
    assert estimate["clip_id"].item() is None
    assert table["replicate"].dropna().tolist() == list(range(7))
    assert metadata["n_references"] == 5
    again, _ = score_metric(
        "fd_mini", manifest=manifest, prompts=prompts, generated=paths[0], target=paths[1], n_replicates=7
    )
    pd.testing.assert_frame_equal(table, again)


@pytest.mark.parametrize("metric", [*EMBEDDED, *AUDIO])
def test_a_recipe_without_a_usable_clip_still_has_its_rows(
    metric, make_manifest, manifest, prompts, make_embeddings, score_metric
) -> None:
    ids = prompts["clip_id"].tolist()
    files = {"generated": make_embeddings("g", ids), "target": make_embeddings("t", ids)}
    baseline = {"baseline": make_manifest("fp32")}
    table, metadata = score_metric(
        metric,
        manifest=manifest.assign(status="non_finite"),
        prompts=prompts,
        **(baseline if metric in AUDIO else files),
    )
    assert metadata["n_scored"] == 0
    assert set(metadata["not_scored"].values()) == {"non_finite"}
    assert table["value"].isna().all()
    assert table["note"].notna().all()


@pytest.mark.parametrize("metric", AUDIO)
def test_gain_of_the_stored_file_is_undone(metric, make_manifest, prompts, score_metric) -> None:
    # Stored clips are peak-normalised, so that both files hold the same samples; only the gains differ.
    table, metadata = score_metric(
        metric, manifest=make_manifest("quiet", level=0.5), prompts=prompts, baseline=make_manifest("fp32")
    )
    expected = 20 * np.log10(2) if metric == "lsd_db" else 0.0
    np.testing.assert_allclose(table["value"], expected, atol=2e-3)
    assert table["clip_id"].tolist() == prompts["clip_id"].tolist()
    assert metadata["cepstral_settings"][0]["n_fft"] == 744
    assert (metadata["n_scored"], metadata["target"], metadata["unit"]) == (6, "fp32", "dB")


@pytest.mark.parametrize("metric", AUDIO)
def test_the_baseline_scored_against_itself_is_zero(metric, make_manifest, prompts, score_metric) -> None:
    baseline = make_manifest("fp32")
    table, _ = score_metric(metric, manifest=baseline, prompts=prompts, baseline=baseline)
    assert (table["value"] == 0).all()


def test_audio_values_are_those_of_the_metric_before_storage(make_manifest, prompts, manifest, score_metric) -> None:
    table, _ = score_metric("lsd_db", manifest=manifest, prompts=prompts, baseline=make_manifest("fp32"))
    target = 0.1 * np.random.default_rng([0, 3]).standard_normal((2, 4800))
    generated = target + 0.05 * np.random.default_rng(99).standard_normal((2, 4800))
    expected = lsd_db(target=target, generated=generated, settings=CepstralSettings.for_sample_rate(16000))
    assert table["value"][3] == pytest.approx(expected, abs=1e-3)  # 24 bits


def test_failures_of_either_side_and_files_of_zeros_are_notes(make_manifest, prompts, manifest, score_metric) -> None:
    import soundfile

    ids = prompts["clip_id"].tolist()
    baseline = make_manifest("fp32")
    manifest.loc[0, "status"] = "non_finite"
    baseline.loc[[0, 1], "status"] = "silent"
    soundfile.write(manifest["path"][2], np.zeros((4800, 2)), 16000, subtype="PCM_24")
    soundfile.write(baseline["path"][3], np.zeros((4800, 2)), 16000, subtype="PCM_24")
    manifest.loc[2, "sha256"], baseline.loc[3, "sha256"] = (
        file_digest(manifest["path"][2]),
        file_digest(baseline["path"][3]),
    )
    _, metadata = score_metric("mcd_db", manifest=manifest, prompts=prompts, baseline=baseline)
    expected = {ids[0]: "non_finite", ids[1]: "fp32: silent", ids[2]: "silent", ids[3]: "fp32: silent"}
    assert metadata["not_scored"] == expected


@pytest.mark.parametrize("side", ["generated", "baseline"])
def test_an_altered_clip_is_not_scored(make_manifest, prompts, manifest, side, score_metric) -> None:
    baseline = make_manifest("fp32")
    altered, other = (manifest, baseline) if side == "generated" else (baseline, manifest)
    shutil.copyfile(other["path"][1], altered["path"][1])
    with pytest.raises(
        DamagedArtifactError, match=rf"{altered['path'][1]} cannot be read.*Delete \S+\.parquet, which lists it"
    ):
        score_metric("lsd_db", manifest=manifest, prompts=prompts, baseline=baseline)


def test_another_seed_is_refused_except_for_the_noise_floor(make_manifest, prompts, score_metric) -> None:
    pair = {"manifest": make_manifest("seed1", seed=1), "baseline": make_manifest("seed0", seed=0)}
    with pytest.raises(DamagedArtifactError, match=r"has seed 1 in .*seed1.* and 0 in .*seed0"):
        score_metric("lsd_db", prompts=prompts, **pair)
    table, metadata = score_metric("lsd_db", prompts=prompts, across_seeds=True, **pair)
    assert (table["value"] > 1).all()
    assert metadata["across_seeds"] is True


def test_files_of_other_clips_are_named(make_manifest, prompts, manifest, make_embeddings, score_metric) -> None:
    ids = prompts["clip_id"].tolist()
    whole = make_embeddings("whole", ids)
    fewer, foreign = make_embeddings("fewer", ids[1:]), make_embeddings("foreign", [*ids, "stranger"])
    with pytest.raises(DamagedArtifactError, match=r"fewer\.safetensors .*1 of 6 clips are missing"):
        score_metric("kl_mini", manifest=manifest, prompts=prompts, generated=whole, target=fewer)
    with pytest.raises(DamagedArtifactError, match=r"foreign\.safetensors .*'stranger'"):
        score_metric("kl_mini", manifest=manifest, prompts=prompts, generated=foreign, target=whole)
    with pytest.raises(DamagedArtifactError, match=r"w4a4.*1 of 6 clips are missing"):
        score_metric("kl_mini", manifest=manifest.iloc[1:], prompts=prompts, generated=whole, target=whole)
    baseline = make_manifest("fp32")
    with pytest.raises(DamagedArtifactError, match=r"fp32.*1 of 6 clips are missing.*'f6'"):
        score_metric("mcd_db", manifest=manifest, prompts=prompts, baseline=baseline.iloc[:-1])
    twice = pd.concat([baseline, baseline.iloc[:1]])
    with pytest.raises(DamagedArtifactError, match="occurs twice"):
        score_metric("mcd_db", manifest=manifest, prompts=prompts, baseline=twice)


def test_files_that_do_not_go_together_are_named(prompts, manifest, make_embeddings, score_metric) -> None:
    ids = prompts["clip_id"].tolist()
    whole, wider = make_embeddings("whole", ids), make_embeddings("wider", ids, dim=5)
    for metric in EMBEDDED:
        with pytest.raises(DamagedArtifactError, match=r"wider\.safetensors.*whole\.safetensors"):
            score_metric(metric, manifest=manifest, prompts=prompts, generated=wider, target=whole)
    other = make_embeddings("other", ids, embedder="openl3")
    with pytest.raises(DamagedArtifactError, match=r"embedder is 'openl3'"):
        score_metric("fd_mini", manifest=manifest, prompts=prompts, generated=other, target=whole)
    classes = make_embeddings("classes", ids, classes=["rain"])
    with pytest.raises(DamagedArtifactError, match="its classes are not those of"):
        score_metric("kl_mini", manifest=manifest, prompts=prompts, generated=classes, target=whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, _: tensors.pop("windows"), "no tensor 'windows'"),
        (lambda tensors, _: tensors.update(window_row=tensors["window_row"][1:]), "17"),
        (lambda tensors, _: tensors.update(window_row=tensors["window_row"] + 1), "does not list"),
        (lambda _, metadata: metadata.update(clip_ids=[metadata["clip_ids"][0]] * 6), "occurs twice"),
        (lambda _, metadata: metadata.pop("clip_ids"), "name no clips"),
    ],
    ids=["tensor absent", "rows missing", "row out of range", "clip twice", "no clips"],
)
def test_a_damaged_embedding_file_is_named(prompts, manifest, make_embeddings, change, message, score_metric) -> None:
    ids = prompts["clip_id"].tolist()
    bad = make_embeddings("bad", ids)
    rewrite(bad, change)
    with pytest.raises(DamagedArtifactError, match=rf"bad\.safetensors.*{message}"):
        score_metric("fd_mini", manifest=manifest, prompts=prompts, generated=make_embeddings("g", ids), target=bad)


def test_audio_that_is_not_what_the_manifest_says_is_named(make_manifest, prompts, manifest, score_metric) -> None:
    baseline = make_manifest("fp32")
    short = {"manifest": manifest.assign(n_samples=4000), "baseline": baseline.assign(n_samples=4000)}
    with pytest.raises(DamagedArtifactError, match=r"0\.flac .*4800 samples"):
        score_metric("mcd_db", prompts=prompts, **short)
    with pytest.raises(DamagedArtifactError, match="has caption"):
        score_metric("mcd_db", prompts=prompts, manifest=manifest.assign(caption="rain"), baseline=baseline)
    with pytest.raises(DamagedArtifactError, match="gain"):
        score_metric("mcd_db", prompts=prompts, manifest=manifest.assign(gain=0.0), baseline=baseline)
    with pytest.raises(DamagedArtifactError, match="no column 'gain'"):
        score_metric("mcd_db", prompts=prompts, manifest=manifest.drop(columns="gain"), baseline=baseline)
    with open(manifest["path"][0], "wb") as handle:
        handle.write(b"fLaC")
    with pytest.raises(DamagedArtifactError, match=r"0\.flac cannot be read"):
        score_metric("mcd_db", prompts=prompts, manifest=manifest, baseline=baseline)


def test_missing_inputs_and_unknown_metrics_are_explained(prompts, manifest, score_metric) -> None:
    with pytest.raises(UserError, match=r"lsd_db has the target .fp32.: give it `baseline`"):
        score_metric("lsd_db", manifest=manifest, prompts=prompts)
    with pytest.raises(UserError, match=r"give it the .generated. files of clap_mini"):
        score_metric("clap_mini", manifest=manifest, prompts=prompts)
    with pytest.raises(UserError, match="Did you mean 'lsd_db'"):
        score_metric("lsd", manifest=manifest, prompts=prompts)


def test_manifest_shards_that_repeat_a_clip_or_lack_a_column_are_refused(tmp_path, manifest) -> None:
    shard = tmp_path / "w4a4" / "shard-0.parquet"
    with pytest.raises(DamagedArtifactError, match=r"shard-0\.parquet.*occurs twice"):
        read_manifest([shard, shard])
    frame, _ = read_parquet(shard)
    write_parquet(tmp_path / "bad.parquet", frame.drop(columns="gain"), {})
    with pytest.raises(DamagedArtifactError, match=r"bad\.parquet.*gain"):
        read_manifest([tmp_path / "bad.parquet"])


@pytest.mark.parametrize("metric", ["fd_mini", "fd_mini_fp32", "kl_mini"])
@pytest.mark.parametrize("silent", ["generated", "target"])
def test_a_shard_whose_clips_are_all_silent_has_no_window(
    metric, silent, manifest, prompts, make_embeddings, score_metric
) -> None:
    """Four of the six clips, in a file of their own, as `embed_clips` writes it."""
    clip_ids = prompts["clip_id"].tolist()
    files = {side: [make_embeddings(f"{side}{n}", ids) for n, ids in enumerate((clip_ids[:4], clip_ids[4:]))]
             for side in ("generated", "target")}  # fmt: skip
    tensors, metadata = read_tensors(files[silent][0], framework="np")
    emptied = {name: tensor[:0] if "window" in name else np.zeros_like(tensor) for name, tensor in tensors.items()}
    write_tensors(files[silent][0], emptied, metadata | {"excluded": dict.fromkeys(clip_ids[:4], "silent")})
    _, record = score_metric(metric, **files, manifest=manifest, prompts=prompts)
    named = set(record["not_scored"])
    # Of references that a Fréchet distance lacks, no clip is left out for it.
    assert named == (set() if (metric, silent) == ("fd_mini", "target") else set(clip_ids[:4]))
