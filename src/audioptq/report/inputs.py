"""What a report is made from: paths and records, and the reading of scores and manifests into two frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.artifacts import read_parquet
from audioptq.errors import UserError

SCORE_COLUMNS = ("clip_id", "metric", "target", "value", "unit", "replicate", "note")
MANIFEST_COLUMNS = ("clip_id", "seed", "path", "status", "seconds")
UNUSABLE = ("silent", "non_finite")


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report is made from; only `model`, `recipes`, `scores` and `prompts` are always needed.

    Attributes:
        model: Name of the model.
        recipes: Recipe records by name, in the order of the table's rows; `baseline` must be one of them. A record may
            carry `compute` (`float`, `simulated` or `integer`), `weight_bits` and `act_bits`.
        scores: Score files, one per recipe, seed and metric; their metadata say which.
        prompts: The prompts table.
        manifests: Shard manifests by recipe.
        sizes: `size.json` by recipe.
        layers: `layers.parquet` by recipe.
        baseline: The recipe to which ratios and differences refer.
        noise_floor_seed: A seed of the baseline that serves only as the noise floor and enters no row.
        act_stats: Activation statistics of the calibration.
        activation_range_layer: The layer of `act_stats` whose range is drawn; None takes the first.
        activation_map: Tensors `activation` `[tokens, channels]` and optionally `weight` `[out, channels]`, with metadata
            `layer`, `sigma`, `step`, `n_steps`, `alpha`.
        listen: Clip ids whose audio goes into the page.
        listen_seed: The seed those clips come from; None takes the smallest one of the baseline.
        published: Rows of other people's tables (`source` is required), printed beside ours.
        card: The model card's record.
        facts: How the run was made: versions, sampler, steps, guidance, machine.
        title: The page's heading.
        n_replicates: Bootstrap replicates.
        bootstrap_seed: Seed of the resampling plan.
        level: Coverage of the intervals.
        max_audio_bytes: Most bytes of encoded audio and pictures in the page.
    """

    model: str
    recipes: Mapping[str, Mapping[str, Any]]
    scores: Sequence[str | Path]
    prompts: str | Path
    manifests: Mapping[str, Sequence[str | Path]] = field(default_factory=dict)
    sizes: Mapping[str, str | Path] = field(default_factory=dict)
    layers: Mapping[str, str | Path] = field(default_factory=dict)
    baseline: str = "fp32"
    noise_floor_seed: int | None = None
    act_stats: str | Path | None = None
    activation_range_layer: str | None = None
    activation_map: str | Path | None = None
    listen: Sequence[str] = ()
    listen_seed: int | None = None
    published: Sequence[Mapping[str, Any]] = ()
    card: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    n_replicates: int = 1000
    bootstrap_seed: int = 0
    level: float = 0.95
    max_audio_bytes: int = 10_000_000


def read_scores(paths: Sequence[str | Path]) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Reads score files into one long frame and gathers what each metric says of itself.

    Returns:
        The frame, with `model`, `recipe` and `seed` before the files' own columns, and by metric its
        `higher_is_better`, `unit` and `target`.

    Raises:
        DamagedArtifactError: If a file is damaged or lacks a column.
        UserError: If a file does not say its recipe and seed, or two files are of the same recipe, seed and metric.
    """
    frames, metrics, seen = [], {}, {}
    for path in paths:
        frame, metadata = read_parquet(path, SCORE_COLUMNS)
        missing = [key for key in ("metric", "recipe", "seed", "higher_is_better") if key not in metadata]
        if missing:
            raise UserError(f"The score file {path} does not say its {', '.join(missing)}. Delete it and run snakemake again.")
        key = (metadata["recipe"], metadata["seed"], metadata["metric"])
        if key in seen:
            raise UserError(f"Both {seen[key]} and {path} are scores of {key[2]} for {key[0]}, seed {key[1]}. Give only one of them.")
        seen[key] = path
        own = {"model": metadata.get("model", ""), "recipe": metadata["recipe"], "seed": int(metadata["seed"])}
        frames.append(frame.loc[:, list(SCORE_COLUMNS)].assign(**own))
        first = frame.iloc[0] if len(frame) else {"unit": "", "target": ""}
        metrics.setdefault(
            metadata["metric"],
            {"higher_is_better": bool(metadata["higher_is_better"]), "unit": first["unit"] or "", "target": first["target"]},
        )
    if not frames:
        raise UserError("There are no score files, so there is nothing to report. Select at least one metric in the config.")
    whole = pd.concat([frame.astype({"value": "float64", "replicate": "Int64", "note": object}) for frame in frames])
    return whole.loc[:, ["model", "recipe", "seed", *SCORE_COLUMNS]].reset_index(drop=True), metrics


def read_manifests(manifests: Mapping[str, Sequence[str | Path]]) -> pd.DataFrame:
    """Reads every shard manifest into one frame with the columns `recipe` and `folder` (that of the shard) added."""
    frames = []
    for recipe, paths in manifests.items():
        for path in paths:
            frame, _ = read_parquet(path, MANIFEST_COLUMNS)
            frames.append(frame.assign(recipe=recipe, folder=str(Path(path).parent)))
    if not frames:
        return pd.DataFrame(columns=["recipe", "folder", *MANIFEST_COLUMNS])
    return pd.concat(frames).reset_index(drop=True)


def excluded_clips(scores: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Names the clips that no average contains: those without usable audio and those a metric could not score.

    Returns:
        Columns `recipe`, `seed`, `clip_id`, `reason`, `metrics` (joined by commas; empty when the clip itself failed).
    """
    failed = manifest[manifest["status"].isin(UNUSABLE)]
    rows = {(r.recipe, int(r.seed), r.clip_id): (f"generated audio is {r.status.replace('_', ' ')}", []) for r in failed.itertuples()}
    unscored = scores[scores["clip_id"].notna() & scores["value"].isna()]
    for row in unscored.itertuples():
        reason = row.note if isinstance(row.note, str) and row.note else "no value"
        rows.setdefault((row.recipe, int(row.seed), row.clip_id), (reason, []))[1].append(row.metric)
    return pd.DataFrame(
        [(*key, reason, ", ".join(dict.fromkeys(metrics))) for key, (reason, metrics) in rows.items()],
        columns=["recipe", "seed", "clip_id", "reason", "metrics"],
    )
