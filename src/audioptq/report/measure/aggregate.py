"""From score rows to estimates with intervals: one resampling plan for every recipe, seed and metric."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audioptq.errors import UserError
from audioptq.score.bootstrap import cluster_ids, draw_counts
from audioptq.score.verdict import Difference


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and the clips behind it (0 for a set-level metric, which does not say)."""

    value: float
    low: float
    high: float
    n: int = 0


class Plan:
    """One bootstrap over reference clips, shared by everything that is compared.

    Each replicate draws references with replacement; a clip counts as often as its reference was drawn, so that clips
    which share a reference (captions of one recording, seeds of one prompt) stay together, and a paired difference sees
    the very draws of its two terms (cluster bootstrap; Davison and Hinkley 1997, section 3.8).
    """

    def __init__(self, prompts: pd.DataFrame, n_replicates: int, seed: int, level: float = 0.95) -> None:
        """`prompts` has `clip_id` and `reference_id`; `level` is the intervals' coverage."""
        self.level = level
        self._column = {str(clip_id): column for column, clip_id in enumerate(prompts["clip_id"])}
        self._clusters = cluster_ids(prompts)
        self._counts = draw_counts(self._clusters, n_replicates, seed)
        self._seed = seed

    @property
    def clip_ids(self) -> list[str]:
        """Every clip of the run."""
        return list(self._column)

    def clusters(self, clip_ids: Iterable[str]) -> list[str]:
        """The cluster of each clip, which must be one of the run's."""
        return [self._clusters[self._column[clip_id]] for clip_id in self._known(clip_ids)]

    def counts(self, clip_ids: Iterable[str]) -> np.ndarray:
        """How often each clip is drawn: `[n_replicates, n_clips]`, columns in the order of `clip_ids`.

        Raises:
            UserError: If a clip is not among the prompts.
        """
        return self._counts[:, [self._column[clip_id] for clip_id in self._known(clip_ids)]]

    def _known(self, clip_ids: Iterable[str]) -> list[str]:
        clip_ids = list(clip_ids)
        unknown = [clip_id for clip_id in clip_ids if clip_id not in self._column]
        if unknown:
            raise UserError(
                f"The scores speak of clip {unknown[0]!r}, which the prompts table does not have ({len(unknown)} such "
                "rows). Scores and prompts are of different runs: delete the score files and run snakemake again."
            )
        return clip_ids

    def draws(self, names: Sequence[str]) -> np.ndarray:
        """How often each of some other things is drawn, one of its name at a time: `[n_replicates, n]`."""
        return draw_counts(names, len(self._counts), self._seed)

    def mean(self, values: np.ndarray, clip_ids: Iterable[str]) -> Estimate:
        """Mean over clips with its interval (`verdict.Difference`); NaN from fewer than six references."""
        clip_ids = list(clip_ids)
        found = Difference.of_clips(values, self.clusters(clip_ids), self.counts(clip_ids), self.level)
        return Estimate(found.value, found.low, found.high, found.n_clips)

    def spread(self, estimate: float, replicates: np.ndarray, minimum: float = -np.inf) -> Estimate:
        """A set-level estimate with the spread of its own replicates around it, cut at `minimum`; NaN where there is none."""
        found = Difference.of_replicates(
            estimate, replicates, n_clips=len(self._column), n_clusters=len(set(self._clusters)), level=self.level
        )
        low, high = (end if np.isnan(end) else max(end, minimum) for end in (found.low, found.high))
        return Estimate(float(estimate), low, high)


def is_set_level(rows: pd.DataFrame) -> bool:
    """Whether the metric has one value for the whole set: then rows that name a clip only say why it was left out."""
    return bool(rows["clip_id"].isna().any())


def set_level_series(rows: pd.DataFrame) -> tuple[float, pd.Series]:
    """Estimate and replicates (index: replicate) of a set-level metric, averaged over the seeds in `rows`."""
    rows = rows[rows["clip_id"].isna()]
    point = rows.loc[rows["replicate"].isna(), "value"].dropna()
    drawn = rows[rows["replicate"].notna() & rows["value"].notna()]
    return (float(point.mean()) if len(point) else float("nan")), drawn.groupby("replicate")["value"].mean()


def estimate_metric(rows: pd.DataFrame, plan: Plan, minimum: float = -np.inf) -> Estimate | None:
    """Estimate of one metric for one recipe over all seeds in `rows`; None when nothing is scorable.

    Clips without a value are left out, never counted as zero. `minimum` is the metric's smallest possible value.
    """
    if is_set_level(rows):
        value, replicates = set_level_series(rows)
        return None if np.isnan(value) else plan.spread(value, replicates.to_numpy(float), minimum)
    scored = rows[rows["clip_id"].notna() & rows["value"].notna()]
    return plan.mean(scored["value"].to_numpy(), scored["clip_id"]) if len(scored) else None
