"""All metrics of one recipe and seed: matches what belongs together, scores it, and counts what could not be scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import pandas as pd

from audioptq.audio.manifest import CLIPPED, UNUSABLE, check_unique, source_of
from audioptq.errors import UserError
from audioptq.score.embeddings import Embeddings, File, Paths, evaluator_metadata, read_file
from audioptq.score.inputs import AUDIO_COLUMNS, MANIFEST_COLUMNS, PROMPT_COLUMNS, ScoreInputs, check_clips
from audioptq.score.table import metric_info, validate
from audioptq.score.usable import damaged

Scored = tuple[pd.DataFrame, dict[str, Any]]
# Under which name the embeddings of a target are given; "none" has no target.
TARGET_FILES = {"prompt": "captions", "reference": "references", "fp32": "fp32"}


def score_metrics(
    metrics: Sequence[str],
    *,
    manifest: pd.DataFrame,
    prompts: pd.DataFrame,
    embeddings: Mapping[str, Mapping[str, Paths]] | None = None,
    baseline: pd.DataFrame | None = None,
    n_replicates: int = 200,
    seed: int = 0,
    across_seeds: bool = False,
) -> dict[str, Scored]:
    """Computes metrics of `table.METRICS`; every embedding file and every clip is read once for all of them.

    Args:
        metrics: Metric ids.
        manifest: The recipe's clips, as `audio.manifest.read_manifest` returns them.
        prompts: The prompts of these clips.
        embeddings: By embedder, its files; absent where a metric needs none. `generated`: of the recipe's clips, one file or
            several that share the clips among them. `captions`: of the prompts' text. `references`: of the references, or
            published statistics in their place (`mean` and `covariance` for a Fréchet distance, `probabilities` for KL).
            `fp32`: of full precision's clips, one file or several.
        baseline: Manifest of full precision, same clips and seed, for metrics that compare audio with audio.
        n_replicates: Bootstrap replicates of a set-level metric; 0 for none.
        seed: Seed of the bootstrap.
        across_seeds: Whether `baseline` may have another seed than `manifest`: for the noise floor, the distance between two
            draws of the same model. Otherwise a baseline of another seed is refused.

    Returns:
        By metric, in the order asked for: the long table (see `table.COLUMNS`; per-clip rows in the order of the prompts),
        and metadata: `metric`, `higher_is_better`, `target`, `unit`, `n_clips` (prompts), `n_scored`, `not_scored` (clip to
        reason), `n_clipped` (scored, but clipped), and what the metric says of its settings.

    Raises:
        UserError: If a metric is unknown or an input that it needs is not given.
        DamagedArtifactError: If the clips of a file are not those of the prompts, or a file is damaged.
    """
    infos = {metric: metric_info(metric) for metric in metrics}
    _check_table(prompts, PROMPT_COLUMNS, "the prompts")
    clip_ids = prompts["clip_id"].tolist()
    columns = AUDIO_COLUMNS if any(info.embedder is None for info in infos.values()) else MANIFEST_COLUMNS
    for frame, default in ((manifest, "the manifest"), (baseline, "full precision's manifest")):
        if frame is not None:
            source = source_of(frame, default)
            _check_table(frame, columns, source)
            check_clips(frame["clip_id"], clip_ids, source)
    inputs = ScoreInputs(prompts, manifest, baseline, n_replicates=n_replicates, seed=seed, across_seeds=across_seeds)
    scored: dict[str, Scored] = {}
    for embedder in dict.fromkeys(info.embedder for info in infos.values()):
        own = [metric for metric, info in infos.items() if info.embedder == embedder]
        if embedder is None:
            scored |= _score_audio(own, inputs)
        else:
            scored |= _score_embedded(own, inputs, (embeddings or {}).get(embedder, {}))
    return {metric: _finished(metric, *scored[metric], manifest, len(clip_ids)) for metric in metrics}


def _score_audio(metrics: Sequence[str], inputs: ScoreInputs) -> dict[str, Scored]:
    from audioptq.score.pairs import score_pairs  # reads audio, which the other metrics do not

    modules = {metric: _module(metric) for metric in metrics}
    distances = {metric: module.DISTANCES[metric] for metric, module in modules.items() if hasattr(module, "DISTANCES")}
    if distances and inputs.baseline is None:
        raise _absent(next(iter(distances)), "`baseline`")
    scored = score_pairs(distances, inputs) if distances else {}
    return scored | {metric: modules[metric].score(metric, inputs) for metric in metrics if metric not in distances}


def _score_embedded(metrics: Sequence[str], inputs: ScoreInputs, files: Mapping[str, Paths]) -> dict[str, Scored]:
    # What nobody reads again is not kept: the windows of a published evaluation are 0.4 GB.
    read: Callable[[Any], File] = cache(read_file) if len(metrics) > 1 else read_file
    scored: dict[str, Scored] = {}
    for metric in metrics:
        module, target = _module(metric), metric_info(metric).target
        # Full precision's clips are embedded as the recipe's are.
        tensors = {"generated": module.TENSORS["generated"]}
        if target != "none":
            tensors["target"] = module.TENSORS["generated" if target == "fp32" else "target"]
        sides: dict[str, Any] = {}
        for side, alternatives in tensors.items():
            name = TARGET_FILES[target] if side == "target" else side
            if files.get(name) is None:
                raise _absent(metric, f"the {name!r} files of {metric_info(metric).embedder}")
            sides[side] = Embeddings.read(files[name], alternatives, read)
        _check_files(sides, inputs.prompts["clip_id"].tolist())
        scored[metric] = module.score(metric, replace(inputs, **sides))
    return scored


def _module(metric: str) -> Any:
    return import_module(f"audioptq.score.{metric_info(metric).module}")


def _absent(metric: str, what: str) -> UserError:
    return UserError(f"The metric {metric} has the target {metric_info(metric).target!r}: give it {what}.")


def _check_files(files: dict[str, Embeddings], clip_ids: list[str]) -> None:
    for embeddings in files.values():
        if embeddings.has_clips:
            check_clips({*embeddings.clip_ids, *embeddings.excluded}, clip_ids, embeddings.path)
    if len(files) < 2:
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


def _finished(
    metric: str, table: pd.DataFrame, settings: dict[str, Any], manifest: pd.DataFrame, n_clips: int
) -> Scored:
    """The checked table, and what its file says of it."""
    info = metric_info(metric)
    validate(table)
    absent = table[table["clip_id"].notna() & table["value"].isna()]
    clipped = set(manifest.loc[manifest["status"] == CLIPPED, "clip_id"]) - set(absent["clip_id"])
    return table, {
        "metric": metric,
        "higher_is_better": info.higher_is_better,
        "target": info.target,
        "unit": info.unit,
        "n_clips": n_clips,
        "n_scored": n_clips - len(absent),
        "not_scored": dict(zip(absent["clip_id"], absent["note"], strict=True)),
        "n_failed": int(manifest["status"].isin(UNUSABLE).sum()),
        "n_clipped": len(clipped),
        **settings,
    }
