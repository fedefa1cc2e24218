"""What a report is made from: paths and records, and the reading of scores and manifests into two frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.audio.manifest import located
from audioptq.errors import UserError
from audioptq.files.artifacts import read_parquet
from audioptq.score.table import COLUMNS as SCORE_COLUMNS
from audioptq.score.table import METRICS, MetricInfo, metric_info

MANIFEST_COLUMNS = ("clip_id", "seed", "path", "sha256", "status", "seconds", "batch")
Settings = dict[tuple[str, int, str], dict[str, Any]]
SCORE_TYPES = {"value": "float64", "replicate": "Int64", "clip_id": object, "note": object}


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report is made from; only `model`, `recipes`, `scores` and `prompts` are always needed.

    Attributes:
        model: Name of the model.
        recipes: Config entries of the recipes by name, in the order of the table's rows, `baseline` among them.
        scores: Score files, one per recipe, seed and metric; their metadata say which.
        prompts: The prompts table.
        manifests: Shard manifests by recipe.
        sizes: `size.json` by recipe.
        layers: `layers.parquet` by recipe.
        compute: `float`, `simulated` or `integer` by recipe, as the generating backend reported it; a recipe that is
            not named here is what its entry says of itself.
        baseline: The recipe to which ratios and differences refer.
        noise_floor_seed: A seed of the baseline that serves only as the noise floor and enters no row.
        act_stats: Activation statistics of the calibration.
        activation_range_layer: The layer of `act_stats` whose range is drawn; None takes the one whose range changes most.
        activation_map: Tensors `activation` `[tokens, channels]` and optionally `weight` `[out, channels]` of the same
            layer, with metadata `layer`, `sigma`, `step`, `n_steps`, `alpha`.
        listen: Clip ids whose audio goes into the page.
        listen_seed: The seed those clips come from; None takes the smallest one of the baseline.
        published: Rows of other people's tables, printed beside ours: `source`, where they are printed; `recipe`, the one of
            ours that a row stands for; and values under metric ids or names of the table's columns. Full precision is
            compared with the rows of its own name.
        card: The model card's record.
        facts: How the run was made: versions, sampler, steps, guidance, machine.
        title: The page's heading.
        n_replicates: Bootstrap replicates.
        bootstrap_seed: Seed of the resampling plan.
        level: Coverage of the intervals.
        margins: By metric or statistic, how large a difference to full precision may be before it matters, as
            `verdict.Margin.from_config` takes it; None or absent where a metric gets no verdict.
        max_audio_bytes: Most bytes of encoded audio and pictures in the page.
    """

    model: str
    recipes: Mapping[str, Mapping[str, Any]]
    scores: Sequence[str | Path]
    prompts: str | Path
    manifests: Mapping[str, Sequence[str | Path]] = field(default_factory=dict)
    sizes: Mapping[str, str | Path] = field(default_factory=dict)
    layers: Mapping[str, str | Path] = field(default_factory=dict)
    compute: Mapping[str, str] = field(default_factory=dict)
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
    margins: Mapping[str, Any] = field(default_factory=dict)
    max_audio_bytes: int = 10_000_000

    @property
    def percent(self) -> str:
        """The coverage as it is written."""
        return f"{100 * self.level:g} %"


def read_scores(paths: Sequence[str | Path]) -> tuple[pd.DataFrame, dict[str, MetricInfo], Settings]:
    """Reads score files into one long frame and looks up the metrics that are in it.

    Returns:
        The frame, with `model`, `recipe` and `seed` before the files' own columns; the metrics in the registry's
        order; and what the files say of their settings by recipe, seed and metric.

    Raises:
        DamagedArtifactError: If a file is damaged or lacks a column.
        UserError: If a file does not say its recipe and seed, two files are of the same recipe, seed and metric, a
            metric is unknown, or there is no file.
    """
    frames: list[pd.DataFrame] = []
    seen: dict[tuple[str, int, str], str | Path] = {}
    settings: Settings = {}
    for path in paths:
        frame, metadata = read_parquet(path, SCORE_COLUMNS)
        missing = [key for key in ("metric", "recipe", "seed") if key not in metadata]
        if missing:
            raise UserError(
                f"The score file {path} does not say its {', '.join(missing)}. Delete it and run snakemake again."
            )
        key = (metadata["recipe"], int(metadata["seed"]), metadata["metric"])
        if key in seen:
            raise UserError(
                f"Both {seen[key]} and {path} hold {key[2]} of {key[0]}, seed {key[1]}. Give only one of them."
            )
        seen[key] = path
        settings[key] = metadata
        own = {"model": metadata.get("model", ""), "recipe": key[0], "seed": key[1]}
        frames.append(frame.loc[:, list(SCORE_COLUMNS)].astype(SCORE_TYPES).assign(**own))
    if not frames:
        raise UserError(
            "There are no score files, so there is nothing to report. Select at least one metric in the config."
        )
    whole = pd.concat(frames)[["model", "recipe", "seed", *SCORE_COLUMNS]].reset_index(drop=True)
    found = {metric: metric_info(metric) for metric in whole["metric"].unique()}
    return whole, {metric: found[metric] for metric in METRICS if metric in found}, settings


def read_manifests(manifests: Mapping[str, Sequence[str | Path]]) -> pd.DataFrame:
    """Reads every shard manifest into one frame with a column `recipe`; `path` counts from the shard's folder."""
    frames = []
    for recipe, paths in manifests.items():
        for path in paths:
            frame, _ = read_parquet(path, MANIFEST_COLUMNS)
            frames.append(located(frame.loc[:, list(MANIFEST_COLUMNS)], path).assign(recipe=recipe))
    if not frames:
        return pd.DataFrame(columns=[*MANIFEST_COLUMNS, "listed_in", "recipe"])
    return pd.concat(frames).reset_index(drop=True)


def without_floor(frame: pd.DataFrame, inputs: ReportInputs) -> pd.DataFrame:
    """The rows of scores or manifest that enter the table: all but those of the noise floor."""
    return frame[~((frame["recipe"] == inputs.baseline) & (frame["seed"] == inputs.noise_floor_seed))]
