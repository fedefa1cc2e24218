"""Cluster bootstrap over clips: one plan of draws for all recipes, so that their comparison is paired.

Captions that share a reference clip are not independent, hence whole clusters are drawn (Davison and Hinkley,
"Bootstrap Methods and their Application", 1997, section 3.8). What the draws make of a difference: `verdict.Difference`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
