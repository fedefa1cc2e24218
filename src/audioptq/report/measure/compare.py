"""Paired differences to the baseline, judged against margins, beside what another seed of the baseline would do."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from audioptq.report.measure.aggregate import Estimate, Plan, estimate_metric, is_set_level, set_level_series
from audioptq.report.measure.inputs import Settings
from audioptq.score.frechet.fd_infinity import clips_for_windows, has_enough_windows
from audioptq.score.table import MetricInfo
from audioptq.score.verdict import (
    BETTER,
    DIFFERENT,
    EQUIVALENT,
    NOT_ENOUGH,
    WORSE,
    Difference,
    Verdict,
    judge,
    margin_of,
    overall,
)

SIGNS = {WORSE: "▼", NOT_ENOUGH: "?", EQUIVALENT: "=", DIFFERENT: "≈", BETTER: "▲"}
NO_VERDICT = ""
COLUMNS = (
    "recipe",
    "metric",
    "difference",
    "low",
    "high",
    "margin",
    "verdict",
    "n_needed",
    "reason",
    "noise_floor",
    "noise_floor_low",
    "noise_floor_high",
    "n_pairs",
)


def paired_difference(
    rows: pd.DataFrame, baseline: pd.DataFrame, plan: Plan, *, across_seeds: bool = False
) -> Difference | None:
    """Mean of `recipe - baseline` over what both have scored, on the plan's draws.

    Per-clip metrics are paired by seed and clip (the same noise), or by clip alone when `across_seeds`; set-level
    metrics replicate by replicate. None when no pair exists.
    """
    if is_set_level(rows):
        if not across_seeds:
            shared = set(rows["seed"]) & set(baseline["seed"])
            rows, baseline = rows[rows["seed"].isin(shared)], baseline[baseline["seed"].isin(shared)]
        (value, replicates), (base_value, base_replicates) = set_level_series(rows), set_level_series(baseline)
        return _of_set(value - base_value, replicates - base_replicates, pd.concat([rows, baseline]), plan)
    keys = ["clip_id"] if across_seeds else ["clip_id", "seed"]
    pairs = _scored(rows).merge(_scored(baseline), on=keys, suffixes=("", "_baseline"))
    return _of_clips(pairs.assign(value=pairs["value"] - pairs["value_baseline"]), plan)


def distance(rows: pd.DataFrame, plan: Plan) -> Difference | None:
    """The distance to full precision that a metric with that target is; None when nothing is scored."""
    if is_set_level(rows):
        return _of_set(*set_level_series(rows), rows, plan)
    return _of_clips(_scored(rows), plan)


def _of_clips(values: pd.DataFrame, plan: Plan) -> Difference | None:
    clip_ids = values["clip_id"].tolist()
    if not clip_ids:
        return None
    return Difference.of_clips(values["value"].to_numpy(), plan.clusters(clip_ids), plan.counts(clip_ids), plan.level)


def _of_set(value: float, replicates: "pd.Series[Any]", rows: pd.DataFrame, plan: Plan) -> Difference | None:
    if math.isnan(value):
        return None
    left_out = set(rows["clip_id"].dropna())  # rows of a set-level metric that name a clip say why it is in no set
    clip_ids = [clip_id for clip_id in plan.clip_ids if clip_id not in left_out]
    return Difference.of_replicates(
        value,
        replicates.to_numpy(float),
        n_clips=len(clip_ids),
        n_clusters=len(set(plan.clusters(clip_ids))),
        level=plan.level,
    )


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
        *,
        margins: Mapping[str, Any] | None = None,
        unusable: Mapping[str, int] | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Takes the rows of a run apart.

        Args:
            scores: All rows; the baseline's with `noise_floor_seed` serve as the noise floor only.
            metrics: What they are of.
            baseline: Full precision.
            noise_floor_seed: Its other seed.
            plan: The draws.
            margins: As `ReportInputs.margins`.
            unusable: Clips of each recipe that are silent or not finite, those of the noise floor's seed left out.
            settings: What score files say of themselves: the windows and dimensions of Fréchet distances.
        """
        is_floor = (scores["recipe"] == baseline) & (scores["seed"] == noise_floor_seed)
        self._rows, self._floor_rows = scores[~is_floor], scores[is_floor]
        self._metrics, self._baseline, self._plan = metrics, baseline, plan
        self._unusable, self._settings = unusable or {}, settings or {}
        self.floors: dict[str, Estimate] = {}
        for metric in metrics:
            floor = self._floor(metric)
            if floor is not None:
                self.floors[metric] = floor
        self._margins = {metric: self._margin(metric, margins or {}) for metric in metrics}

    def _of(self, rows: pd.DataFrame, metric: str, recipe: str) -> pd.DataFrame:
        return rows[(rows["metric"] == metric) & (rows["recipe"] == recipe)]

    def _difference(self, rows: pd.DataFrame, metric: str, *, across_seeds: bool) -> Difference | None:
        if self._metrics[metric].is_distance:
            return distance(rows, self._plan)
        baseline = self._of(self._rows, metric, self._baseline)
        return paired_difference(rows, baseline, self._plan, across_seeds=across_seeds)

    def _floor(self, metric: str) -> Estimate | None:
        rows = self._of(self._floor_rows, metric, self._baseline)
        found = self._difference(rows, metric, across_seeds=True) if len(rows) else None
        return None if found is None else Estimate(found.value, found.low, found.high, found.n_clips)

    def _margin(self, metric: str, margins: Mapping[str, Any]) -> float | None:
        """In the metric's unit; NaN where there is nothing that it could refer to, None where a metric has no margin."""
        info = self._metrics[metric]
        margin = margin_of(metric, margins, is_distance=info.is_distance)
        if margin is None:
            return None
        own = estimate_metric(self._of(self._rows, metric, self._baseline), self._plan)
        floor = self.floors.get(metric)
        found = margin.of(math.nan if own is None else own.value, None if floor is None else floor.value)
        return found if found > 0 else math.nan

    def _verdict(self, recipe: str, metric: str, difference: Difference | None) -> Verdict:
        info, margin = self._metrics[metric], self._margins[metric]
        verdict = judge(
            difference,
            math.nan if margin is None else margin,
            higher_is_better=info.higher_is_better,
            n_unusable=self._unusable.get(recipe, 0),
            n_unusable_baseline=self._unusable.get(self._baseline, 0),
            is_distance=info.is_distance,
        )
        if verdict.word == WORSE and verdict.reason:
            return verdict
        if margin is None:
            return Verdict(NO_VERDICT, reason="no margin is set for it")
        windows = self._windows(recipe, metric)
        if difference is not None and windows is not None and not has_enough_windows(*windows):
            needed = clips_for_windows(difference.n_clips, *windows)
            return Verdict(NOT_ENOUGH, margin, needed, f"{windows[0]} windows of {windows[1]} dimensions are too few")
        return verdict

    def _windows(self, recipe: str, metric: str) -> tuple[int, int] | None:
        """Windows of a seed of the recipe, which are fewest, and their dimension; None for other metrics."""
        known = [entry for key, entry in self._settings.items() if (key[0], key[2]) == (recipe, metric)]
        pairs = [(int(entry["n_windows"]), int(entry["dim"])) for entry in known if entry.get("dim")]
        return min(pairs) if pairs else None

    def frame(self, recipes: list[str]) -> pd.DataFrame:
        """One row per recipe (the baseline aside) and metric, with the columns `COLUMNS`; what nobody scored has no row."""
        rows = []
        for recipe in recipes:
            for metric in self._metrics:
                own = self._of(self._rows, metric, recipe)
                if recipe == self._baseline or own.empty:
                    continue
                difference = self._difference(own, metric, across_seeds=False)
                verdict = self._verdict(recipe, metric, difference)
                if difference is None and verdict.word == NO_VERDICT:
                    continue
                known = difference or Difference(math.nan, math.nan, math.nan, math.nan, 0, 0)
                floor = self.floors.get(metric) or Estimate(math.nan, math.nan, math.nan)
                judged = (verdict.margin, verdict.word, verdict.n_needed, verdict.reason)
                estimate = (known.value, known.low, known.high)
                rows.append((recipe, metric, *estimate, *judged, floor.value, floor.low, floor.high, known.n_clips))
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"n_needed": "Int64"})


def judged(comparisons: pd.DataFrame) -> dict[str, Verdict]:
    """What may be said of each recipe from all its metrics that have a verdict (`verdict.overall`)."""
    found: dict[str, Verdict] = {}
    for recipe, rows in comparisons[comparisons["verdict"] != NO_VERDICT].groupby("recipe", sort=False):
        verdicts = {
            row.metric: Verdict(
                row.verdict, row.margin, None if pd.isna(row.n_needed) else int(row.n_needed), row.reason
            )
            for row in rows.itertuples()
        }
        found[str(recipe)] = overall(verdicts)
    return found
