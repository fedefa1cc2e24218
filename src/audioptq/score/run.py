"""One metric over one recipe: matches what belongs together, scores it, and counts what could not be scored."""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from audioptq.audio.manifest import check_unique, source_of
from audioptq.errors import UserError
from audioptq.score.embeddings import Embeddings, Paths, evaluator_metadata
from audioptq.score.inputs import AUDIO_COLUMNS, MANIFEST_COLUMNS, PROMPT_COLUMNS, ScoreInputs, check_clips
from audioptq.score.table import metric_info, validate
from audioptq.score.usable import NOT_SCORABLE, damaged


def score_metrics(
    metrics: Iterable[str],
    *,
    manifest: pd.DataFrame,
    prompts: pd.DataFrame,
    embeddings: Mapping[str, Mapping[str, Paths]],
    baseline: pd.DataFrame | None = None,
    n_replicates: int = 200,
    seed: int = 0,
    across_seeds: bool = False,
) -> dict[str, tuple[pd.DataFrame, dict[str, Any]]]:
    """Computes several metrics of one recipe.

    Args:
        metrics: Metric ids.
        manifest: The recipe's clips.
        prompts: The prompts of these clips.
        embeddings: Evaluator -> `generated`, `references`, `captions`, `fp32`: the files that there are.
        baseline: Manifest of the full-precision recipe.
        n_replicates: Bootstrap replicates of a set-level metric; 0 for none.
        seed: Seed of the bootstrap.
        across_seeds: Whether full precision may have another seed.

    Returns:
        Metric -> table and metadata, as `score_metric` returns them.

    Raises:
        UserError, DamagedArtifactError: As `score_metric` does.
    """
    kinds = {"prompt": "captions", "reference": "references", "fp32": "fp32"}
    found = {}
    for metric in metrics:
        info = metric_info(metric)
        files = embeddings.get(info.embedder, {}) if info.embedder else {}
        found[metric] = score_metric(
            metric,
            manifest=manifest,
            prompts=prompts,
            generated=files.get("generated"),
            target=files.get(kinds.get(info.target, "")),
            baseline=None if info.embedder else baseline,
            n_replicates=n_replicates,
            seed=seed,
            across_seeds=across_seeds,
        )
    return found


def score_metric(
    metric: str,
    *,
    manifest: pd.DataFrame,
    prompts: pd.DataFrame,
    generated: Paths | None = None,
    target: Paths | None = None,
    baseline: pd.DataFrame | None = None,
    n_replicates: int = 200,
    seed: int = 0,
    across_seeds: bool = False,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Computes one metric of `table.METRICS`.

    Args:
        metric: Metric id.
        manifest: The recipe's clips, as `inputs.read_manifest` returns them.
        prompts: The prompts of these clips.
        generated: Embedding file of the recipe's clips, or several that share the clips among them (one per generate
            shard), for metrics that have an embedder.
        target: Embedding file of the prompts' text or of the references, or published statistics in their place
            (`mean` and `covariance` for a Fréchet distance, `probabilities` for KL), for metrics that have an embedder.
        baseline: Manifest of the full-precision recipe, same clips and seed, for metrics that compare audio with audio.
        n_replicates: Bootstrap replicates of a set-level metric; 0 for none.
        seed: Seed of the bootstrap.
        across_seeds: Whether `baseline` may have another seed than `manifest`: for the noise floor, the distance
            between two draws of the same model. Otherwise a baseline of another seed is refused.

    Returns:
        The long table (see `table.COLUMNS`; per-clip rows in the order of the prompts), and metadata: `metric`,
        `higher_is_better`, `target`, `unit`, `n_clips` (prompts), `n_scored`, `not_scored` (clip to reason),
        `n_clipped` (scored, but clipped), and what the metric says of its settings.

    Raises:
        UserError: If the metric is unknown or an input that it needs is not given.
        DamagedArtifactError: If the clips of a file are not those of the prompts, or a file is damaged.
    """
    info = metric_info(metric)
    audio = info.embedder is None
    paths = {} if audio else {"generated": generated, "target": target}
    needed: dict[str, Any] = paths or {"baseline": baseline}
    absent = [name for name, given in needed.items() if given is None]
    if absent:
        raise UserError(f"The metric {metric} compares with the {info.target}: give it {' and '.join(absent)}.")
    _check_table(prompts, PROMPT_COLUMNS, "the prompts")
    clip_ids = prompts["clip_id"].tolist()
    for frame, default in ((manifest, "the manifest"), (baseline, "the baseline's manifest")):
        if frame is not None:
            source = source_of(frame, default)
            _check_table(frame, AUDIO_COLUMNS if audio else MANIFEST_COLUMNS, source)
            check_clips(frame["clip_id"], clip_ids, source)
    module = importlib.import_module(f"audioptq.score.{info.module}")
    files = {side: Embeddings.read(path, module.TENSORS[side]) for side, path in paths.items() if path is not None}
    _check_files(files, clip_ids)
    inputs = ScoreInputs(
        prompts, manifest, baseline, files.get("generated"), files.get("target"), n_replicates, seed, across_seeds
    )
    table, settings = module.score(metric, inputs)
    validate(table)
    return table, {**_summary(metric, table, manifest, len(clip_ids)), **settings}


def _check_files(files: dict[str, Embeddings], clip_ids: list[str]) -> None:
    for embeddings in files.values():
        if embeddings.has_clips:
            check_clips({*embeddings.clip_ids, *embeddings.excluded}, clip_ids, embeddings.path)
    if not files:
        return
    generated, target = (files[side] for side in ("generated", "target"))
    own, other = (evaluator_metadata(embeddings.metadata) for embeddings in (generated, target))
    if own.get("embedder") != other.get("embedder"):
        named = f"{own.get('embedder')!r}, that of {target.path} is {other.get('embedder')!r}"
        raise damaged(generated.path, f"its embedder is {named}")
    for key in sorted(set(own) & set(other)):
        if own[key] != other[key]:
            raise damaged(generated.path, f"its {key} and those of {target.path} are not the same")


def _check_table(frame: pd.DataFrame, columns: tuple[str, ...], source: str) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise damaged(source, f"it has no column {missing[0]!r}")
    check_unique(frame, source)


def _summary(metric: str, table: pd.DataFrame, manifest: pd.DataFrame, n_clips: int) -> dict[str, Any]:
    info = metric_info(metric)
    absent = table[table["clip_id"].notna() & table["value"].isna()]
    clipped = set(manifest.loc[manifest["status"] == "clipped", "clip_id"]) - set(absent["clip_id"])
    return {
        "metric": metric,
        "higher_is_better": info.higher_is_better,
        "target": info.target,
        "unit": info.unit,
        "n_clips": n_clips,
        "n_scored": n_clips - len(absent),
        "not_scored": dict(zip(absent["clip_id"], absent["note"], strict=True)),
        "n_failed": int(manifest["status"].isin(NOT_SCORABLE).sum()),
        "n_clipped": len(clipped),
    }
