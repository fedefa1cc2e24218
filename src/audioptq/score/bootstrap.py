"""Cluster bootstrap over clips: one plan of draws for all recipes, so that their comparison is paired.

Captions that share a reference clip are not independent, hence whole clusters are drawn (Davison and Hinkley,
"Bootstrap Methods and their Application", 1997, section 3.8).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def cluster_ids(prompts: pd.DataFrame) -> list[str]:
    """Cluster of each prompt: its reference clip, or the prompt itself where there is none.

    Example:
        >>> cluster_ids(pd.DataFrame({"clip_id": ["a", "b", "c"], "reference_id": ["r", "r", None]}))
        ['reference r', 'reference r', 'clip c']
    """
    pairs = zip(prompts["clip_id"], prompts["reference_id"], strict=True)
    return [f"clip {clip}" if pd.isna(reference) else f"reference {reference}" for clip, reference in pairs]


def draw_counts(cluster_ids: Sequence[str], n_replicates: int, seed: int) -> IntArray:
    """How often each item occurs in each bootstrap replicate when whole clusters are drawn with replacement.

    The plan depends on the set of cluster ids and the seed alone: neither on the order of the items nor on a recipe.

    Args:
        cluster_ids: Cluster of each item, `[items]`.
        n_replicates: Number of replicates, at least 1.
        seed: Seed of the draws.

    Returns:
        Counts `[replicates, items]`; items of one cluster have equal counts.

    Example:
        >>> counts = draw_counts(["a", "b", "a"], n_replicates=4, seed=0)
        >>> counts.shape, bool((counts[:, 0] == counts[:, 2]).all()), (counts[:, 0] + counts[:, 1]).tolist()
        ((4, 3), True, [2, 2, 2, 2])

    Raises:
        ValueError: If there are no items or `n_replicates` is below 1.
    """
    if len(cluster_ids) == 0 or n_replicates < 1:
        raise ValueError("a bootstrap needs at least one item and one replicate")
    # Sorting as text makes the plan independent of row order.
    clusters, item_cluster = np.unique(np.asarray(cluster_ids, dtype=str), return_inverse=True)
    share = np.full(len(clusters), 1 / len(clusters))
    draws = np.random.default_rng(seed).multinomial(len(clusters), share, size=n_replicates)
    return draws[:, item_cluster].astype(np.int64)


def mean_interval(values: ArrayLike, counts: IntArray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the mean over clips.

    Each replicate's mean is `sum(counts * values) / sum(counts)`; the interval is between its `(1 - level) / 2` and
    `(1 + level) / 2` quantiles. A replicate that drew none of the clips is left out.

    Args:
        values: One value per item `[items]`.
        counts: Plan of `draw_counts`, `[replicates, items]`.
        level: Coverage in (0, 1).

    Example:
        >>> mean_interval([2.0, 2.0], draw_counts(["a", "b"], 10, seed=0))
        (2.0, 2.0)

    Raises:
        ValueError: If a value is not finite, no replicate drew a clip, or shapes or level are wrong.
    """
    array = np.asarray(values, dtype=np.float64)
    if counts.ndim != 2 or array.shape != counts.shape[1:]:
        raise ValueError(f"values {array.shape} do not match counts {counts.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{int((~np.isfinite(array)).sum())} of {len(array)} values are missing or not finite")
    totals = counts.sum(axis=1)
    drawn = totals > 0
    if not drawn.any():
        raise ValueError("no replicate drew a clip with a value")
    low, high = _central((counts[drawn] @ array) / totals[drawn], level)
    return float(low), float(high)


def set_interval(
    estimate: float, replicates: ArrayLike, level: float = 0.95, minimum: float = -np.inf
) -> tuple[float, float]:
    """Interval of a set-level metric from its bootstrap replicates, centred on the estimate.

    A Frechet distance grows when clips repeat, so that its replicates lie above the estimate, often all of them. Their
    spread is kept and their shift removed: `estimate + quantile(replicates) - mean(replicates)`. The interval is
    about the distance at this number of clips, which is what an FD always is.

    Args:
        estimate: Value on the whole set.
        replicates: Values of the bootstrap draws `[replicates]`; NaN ones are left out.
        level: Coverage in (0, 1).
        minimum: Smallest possible value of the metric; the interval is cut there.

    Example:
        >>> set_interval(1.0, [2.0, 3.0, 4.0], level=0.5)
        (0.5, 1.5)

    Raises:
        ValueError: If no replicate is finite or the level is wrong.
    """
    values = np.asarray(replicates, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        raise ValueError("no finite replicate")
    low, high = estimate + _central(values, level) - values.mean()
    return max(float(low), minimum), max(float(high), minimum)


def _central(values: FloatArray, level: float) -> FloatArray:
    """The two quantiles between which the share `level` of the values lies."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
