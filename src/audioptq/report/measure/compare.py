"""Paired differences to the baseline, beside what another seed of the baseline would do."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from audioptq.report.measure.aggregate import Estimate, Plan, estimate_metric, is_set_level, set_level_series
from audioptq.score.table import MetricInfo

WORSE, BETTER, WITHIN, UNCLEAR = "worse", "better", "within noise", "unclear"
SIGNS = {WORSE: "▼", BETTER: "▲", WITHIN: "≈", UNCLEAR: "?"}
COLUMNS = (
    "recipe",
    "metric",
    "difference",
    "low",
    "high",
    "noise_floor",
    "verdict",
    "noise_floor_low",
    "noise_floor_high",
    "n_pairs",
)


def paired_difference(
    rows: pd.DataFrame, baseline: pd.DataFrame, plan: Plan, *, across_seeds: bool = False
) -> Estimate | None:
    """Mean of `recipe - baseline` over what both have scored, on the plan's draws.

    Per-clip metrics are paired by seed and clip (the same noise), or by clip alone when `across_seeds`; set-level
    metrics replicate by replicate. None when no pair exists.
    """
    if is_set_level(rows):
        if not across_seeds:
            shared = set(rows["seed"]) & set(baseline["seed"])
            rows, baseline = rows[rows["seed"].isin(shared)], baseline[baseline["seed"].isin(shared)]
        (value, replicates), (base_value, base_replicates) = set_level_series(rows), set_level_series(baseline)
        if np.isnan(value - base_value):
            return None
        return plan.spread(value - base_value, (replicates - base_replicates).dropna().to_numpy(float))
    keys = ["clip_id"] if across_seeds else ["clip_id", "seed"]
    pairs = _scored(rows).merge(_scored(baseline), on=keys, suffixes=("", "_baseline"))
    if pairs.empty:
        return None
    return plan.mean((pairs["value"] - pairs["value_baseline"]).to_numpy(), pairs["clip_id"])


def verdict(difference: Estimate, floor: Estimate | None, higher_is_better: bool) -> str:
    """One word for a difference.

    Let b be the end of the noise floor's interval that lies farthest from zero.
    `worse` or `better`: the interval excludes zero and |difference| > b. `within noise`: the interval lies in [-b, b].
    `unclear`: anything else, and always when the difference has no interval.
    """
    band = reach(floor)
    if np.isnan(difference.low) or np.isnan(difference.high):
        return UNCLEAR
    if (difference.low > 0 or difference.high < 0) and abs(difference.value) > band:
        return BETTER if (difference.value > 0) == higher_is_better else WORSE
    return WITHIN if max(abs(difference.low), abs(difference.high)) <= band else UNCLEAR


def distance_verdict(distance: Estimate, floor: Estimate | None) -> str:
    """One word for a distance to the baseline's own clips, never below zero.

    Let b be the upper end of the distance that another seed gives. `within noise`: the interval ends at or below b.
    `worse`: it begins above b. `unclear`: anything else.
    """
    if floor is None or np.isnan([floor.low, floor.high, distance.low, distance.high]).any():
        return UNCLEAR
    if distance.high <= floor.high:
        return WITHIN
    return WORSE if distance.low > floor.high else UNCLEAR


def _scored(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.loc[rows["clip_id"].notna() & rows["value"].notna(), ["clip_id", "seed", "value"]]


def reach(floor: Estimate | None) -> float:
    """How far from zero the noise floor's interval goes; 0 without a noise floor."""
    return 0.0 if floor is None else float(np.nanmax(np.abs([floor.value, floor.low, floor.high])))


class Comparison:
    """Compares recipes with the baseline, metric by metric, and holds the noise floors.

    Attributes:
        floors: By metric, the difference that another seed of the baseline makes (or its distance, for measures whose
            target is full precision); a metric without one is absent.
    """

    def __init__(
        self,
        scores: pd.DataFrame,
        metrics: Mapping[str, MetricInfo],
        baseline: str,
        noise_floor_seed: int | None,
        plan: Plan,
    ) -> None:
        """`scores` are all rows of the run; the baseline's with `noise_floor_seed` serve as the noise floor only."""
        is_floor = (scores["recipe"] == baseline) & (scores["seed"] == noise_floor_seed)
        self._rows, self._floor_rows = scores[~is_floor], scores[is_floor]
        self._metrics, self._baseline, self._plan = metrics, baseline, plan
        self.floors: dict[str, Estimate] = {}
        for metric in metrics:
            floor = self._floor(metric)
            if floor is not None:
                self.floors[metric] = floor

    def _of(self, rows: pd.DataFrame, metric: str, recipe: str) -> pd.DataFrame:
        return rows[(rows["metric"] == metric) & (rows["recipe"] == recipe)]

    def _difference(self, rows: pd.DataFrame, metric: str, *, across_seeds: bool) -> Estimate | None:
        if self._metrics[metric].is_distance:
            return estimate_metric(rows, self._plan, self._metrics[metric].minimum)
        return paired_difference(
            rows, self._of(self._rows, metric, self._baseline), self._plan, across_seeds=across_seeds
        )

    def _floor(self, metric: str) -> Estimate | None:
        rows = self._of(self._floor_rows, metric, self._baseline)
        return self._difference(rows, metric, across_seeds=True) if len(rows) else None

    def frame(self, recipes: list[str]) -> pd.DataFrame:
        """One row per recipe (the baseline aside) and metric, with the columns `COLUMNS`; absent pairs have no row."""
        rows = []
        for recipe in recipes:
            for metric, info in self._metrics.items():
                difference = self._difference(self._of(self._rows, metric, recipe), metric, across_seeds=False)
                if recipe == self._baseline or difference is None:
                    continue
                floor = self.floors.get(metric)
                if info.is_distance:
                    word = distance_verdict(difference, floor)
                else:
                    word = verdict(difference, floor, info.higher_is_better)
                known = floor or Estimate(float("nan"), float("nan"), float("nan"))
                estimate = (difference.value, difference.low, difference.high)
                rows.append((recipe, metric, *estimate, known.value, word, known.low, known.high, difference.n))
        return pd.DataFrame(rows, columns=list(COLUMNS))
