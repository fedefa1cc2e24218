"""The long table of scores and the registry of metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from audioptq.errors import UserError, did_you_mean
from audioptq.evaluators import evaluators

# What generated audio is compared with: `fp32` stands for full precision's own clips of the same prompts and noise.
TARGETS = ("reference", "prompt", "fp32", "none")
COLUMNS = ("clip_id", "metric", "target", "value", "unit", "replicate", "note")


@dataclass(frozen=True)
class MetricInfo:
    """What a metric is.

    Attributes:
        unit: Unit of its values; "1" if they have none.
        higher_is_better: Direction.
        target: What the generated audio is compared with, one of `TARGETS`.
        label: Name for tables and figures.
        module: Module of `audioptq.score` whose `score(metric, inputs)` or whose `DISTANCES[metric]` computes it.
        embedder: Embedder whose files it needs, whatever the target; None if it is computed from audio.
        set_level: Whether it is one number for a set of clips rather than one per clip.
        minimum: Smallest possible value.
    """

    unit: str
    higher_is_better: bool
    target: str
    label: str
    module: str
    embedder: str | None = None
    set_level: bool = False
    minimum: float = 0.0

    def __post_init__(self) -> None:
        """Refuses what nothing could compute or judge."""
        if self.target not in TARGETS:
            raise ValueError(f"the target of {self.label} is {self.target!r}, which is none of {', '.join(TARGETS)}")
        if self.is_distance and self.higher_is_better:
            raise ValueError(f"{self.label} measures a distance to full precision, of which less is better")

    @property
    def is_distance(self) -> bool:
        """Whether it says how far clips are from full precision's own, which are at 0 from themselves."""
        return self.target == "fp32"


# What the statistics have in common, whichever evaluator's embeddings they are computed from.
STATISTICS: dict[str, MetricInfo] = {
    "clap": MetricInfo("1", True, "prompt", "CLAP score", "clap", minimum=-1.0),
    "kl": MetricInfo("nat", False, "reference", "KL(generated‖reference)", "kl"),
    "fd": MetricInfo("1", False, "reference", "FD", "frechet.frechet", set_level=True),
    "fad": MetricInfo("1", False, "reference", "FAD", "frechet.frechet", set_level=True),
}


def _evaluated() -> dict[str, MetricInfo]:
    """The metrics that evaluators declare, grouped by statistic; distances to full precision come last."""
    declared = []
    for evaluator in evaluators().values():
        for metric, entry in evaluator.metrics.items():
            shared = STATISTICS[entry["statistic"]]
            target = entry.get("target", shared.target)
            info = replace(shared, label=entry["label"], embedder=evaluator.id, target=target)
            declared.append((info.is_distance, list(STATISTICS).index(entry["statistic"]), metric, info))
    return {metric: info for _, _, metric, info in sorted(declared, key=lambda entry: entry[:2])}


METRICS: dict[str, MetricInfo] = {
    **_evaluated(),
    "mcd_db": MetricInfo("dB", False, "fp32", "MCD", "mcd"),
    "mcd_dtw_db": MetricInfo("dB", False, "fp32", "MCD, time-aligned", "mcd"),
    "lsd_db": MetricInfo("dB", False, "fp32", "LSD", "lsd"),
}


def metric_info(metric: str) -> MetricInfo:
    """Looks a metric up by its id.

    Raises:
        UserError: If there is no such metric; the text names the nearest one.
    """
    if metric in METRICS:
        return METRICS[metric]
    hint = did_you_mean(metric, METRICS)
    raise UserError(f"There is no metric {metric!r}.{hint} Known metrics: {', '.join(METRICS)}.")


def clip_table(
    metric: str, clip_ids: Sequence[str], *, values: Mapping[str, float], notes: Mapping[str, str]
) -> pd.DataFrame:
    """Builds the rows of a per-clip metric: each clip has either a value or a note that says why it has none.

    Raises:
        ValueError: If a clip has both or neither, or a value is not finite.
    """
    info = metric_info(metric)
    return validate(
        pd.DataFrame(
            {
                "clip_id": list(clip_ids),
                "metric": metric,
                "target": info.target,
                "value": [float(values.get(clip_id, np.nan)) for clip_id in clip_ids],
                "unit": info.unit,
                "replicate": pd.array([pd.NA] * len(clip_ids), dtype="Int64"),
                "note": [notes.get(clip_id) for clip_id in clip_ids],
            }
        )
    )


def set_table(
    metric: str, *, estimate: float, replicates: Sequence[float], notes: Mapping[str, str], absent: str | None = None
) -> pd.DataFrame:
    """Builds the rows of a set-level metric: the estimate, its bootstrap replicates, and the clips left out.

    The estimate has neither clip nor replicate; replicate rows are numbered from 0; a row with a clip id has no value
    and its note says why the clip is not in the set.

    Args:
        metric: Metric id.
        estimate: Value for the whole set, NaN if it has none.
        replicates: Values of the bootstrap draws, NaN where a draw has none.
        notes: Clips left out, with the reason.
        absent: Why NaN values are absent.
    """
    info = metric_info(metric)
    values = [estimate, *replicates, *([np.nan] * len(notes))]
    n_sets = 1 + len(replicates)
    return validate(
        pd.DataFrame(
            {
                "clip_id": pd.Series([None] * n_sets + list(notes), dtype=object),
                "metric": metric,
                "target": info.target,
                "value": np.asarray(values, dtype=float),
                "unit": info.unit,
                "replicate": pd.array([pd.NA, *range(len(replicates)), *([pd.NA] * len(notes))], dtype="Int64"),
                "note": [absent if np.isnan(value) else None for value in values[:n_sets]] + list(notes.values()),
            }
        )
    )


def validate(frame: pd.DataFrame) -> pd.DataFrame:
    """Checks a long table and returns it.

    Raises:
        ValueError: If a column is absent, a metric's target or unit is not the registered one, a row has both a value
            and a note or neither, a value is infinite, or a (clip, metric, replicate) occurs twice.
    """
    if tuple(frame.columns) != COLUMNS:
        raise ValueError(f"a score table has the columns {COLUMNS}, not {tuple(frame.columns)}")
    for metric, rows in frame.groupby("metric"):
        info = metric_info(str(metric))
        if set(rows["target"]) != {info.target} or set(rows["unit"]) != {info.unit}:
            raise ValueError(f"the target of {metric} is {info.target!r} and its unit {info.unit!r}")
    if np.isinf(frame["value"]).any():
        raise ValueError("a score is infinite")
    if (frame["value"].isna() == frame["note"].isna()).any():
        raise ValueError("each row has either a value or a note that says why it has none")
    if frame.duplicated(["clip_id", "metric", "replicate"]).any():
        raise ValueError("a (clip_id, metric, replicate) occurs twice")
    return frame
