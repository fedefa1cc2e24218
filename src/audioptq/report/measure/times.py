"""Wall time per clip and what a recipe gains: medians, with intervals over batches."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from audioptq.report.measure.aggregate import Plan
from audioptq.score.frechet.windows import FloatArray

COLUMNS = tuple(f"{name}{end}" for name in ("seconds_per_clip", "speedup") for end in ("", "_low", "_high"))


def time_columns(manifest: pd.DataFrame, recipes: Sequence[str], baseline: str, plan: Plan) -> pd.DataFrame:
    """Seconds per clip and speed-up of each recipe, with intervals; one disturbed clip does not move a median.

    What a clock has measured is a batch, whose clips have an equal share of its time, so batches are drawn (bootstrap); every
    recipe has the same ones drawn, as long as it has the same. An interval says how far the batches of this run agree. It does
    not know whether the machine was slower while another recipe ran: `audioptq.bench` takes turns. Few batches have no interval:
    even the range of n values misses the median with a probability of 2^(1 - n), and a bootstrap is never wider.

    Args:
        manifest: Clips with `recipe`, `seed`, `listed_in`, `batch` and `seconds`.
        recipes: Rows of the result, in order; one without clips has NaN.
        baseline: What the speed-up refers to; its own is 1.
        plan: Gives the draws.

    Returns:
        A row for each recipe with `COLUMNS`; an interval is NaN where there are too few batches (below 6 for 95 %).
    """
    medians = {recipe: _medians(manifest[manifest["recipe"] == recipe], plan) for recipe in recipes}
    rows = []
    for recipe in recipes:
        seconds = medians[recipe]
        # Drawn from too few batches of the other, a gain has no interval either.
        gain = (medians[baseline] / seconds)[: min(len(medians[baseline]), len(seconds))]
        rows.append([*_with_interval(seconds, plan.level), *_with_interval(gain, plan.level)])
    return pd.DataFrame(rows, columns=list(COLUMNS), index=list(recipes))


def weighted_medians(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Median of `values` `[n]` in which each counts as often as `weights` `[draws, n]` say; one for each draw.

    >>> weighted_medians(np.array([3.0, 1.0, 2.0]), np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])).tolist()
    [2.0, 2.0]
    """
    order = np.argsort(values)
    below = np.cumsum(weights[:, order], axis=1)
    half = below[:, -1:] / 2
    lower, upper = (below >= half).argmax(axis=1), (below > half).argmax(axis=1)
    medians: FloatArray = (values[order][lower] + values[order][upper]) / 2
    return medians


def _medians(clips: pd.DataFrame, plan: Plan) -> FloatArray:
    """Median seconds over clips, and behind it those of each draw of batches."""
    if clips.empty:
        return np.array([math.nan])
    shard = [Path(path).name for path in clips["listed_in"]]
    batches = clips.assign(shard=shard).groupby(["seed", "shard", "batch"])["seconds"].agg(["first", "size"])
    sizes = batches["size"].to_numpy(float)[None, :]
    if 2.0 ** (1 - len(batches)) <= 1 - plan.level:
        sizes = np.concatenate([sizes, sizes * plan.draws([str(batch) for batch in batches.index])])
    return weighted_medians(batches["first"].to_numpy(float), sizes)


def _with_interval(medians: FloatArray, level: float) -> tuple[float, float, float]:
    if len(medians) == 1:
        return float(medians[0]), math.nan, math.nan
    low, high = np.quantile(medians[1:], [(1 - level) / 2, (1 + level) / 2])
    return float(medians[0]), float(low), float(high)
