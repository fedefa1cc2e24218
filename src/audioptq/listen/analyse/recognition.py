"""ABX: whether listeners tell a recipe from full precision, by the binomial test."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy.stats import binomtest

SIGNIFICANCE = 0.05
TOLD, NOT_SHOWN = "told apart", "not shown to be told apart"


def recognition(judgements: pd.DataFrame, recipes: Sequence[str]) -> list[dict[str, Any]]:
    """A record for each recipe, and in it one for each listener.

    The test is one-sided against chance, which is right in half of all trials; of several recipes the p-values are adjusted by
    Holm's method. Trials are taken as independent, also those of one listener: that holds if nobody hears a difference.

    Returns:
        Records with `variant`, `n`, `n_correct`, `share`, `low`, `high` (exact 95 % interval of the share of right answers),
        `p`, `p_adjusted`, `verdict` and `listeners`.
    """
    records = []
    for recipe in recipes:
        rows = judgements[judgements["variant"] == recipe]
        if len(rows):
            by_listener = [
                {"listener": listener, "name": name, **_counted(theirs)}
                for (listener, name), theirs in rows.groupby(["listener", "name"], sort=True)
            ]
            records.append({"variant": recipe, **_counted(rows), "listeners": by_listener})
    for record, adjusted in zip(records, holm([record["p"] for record in records]), strict=True):
        record["p_adjusted"] = adjusted
        record["verdict"] = TOLD if adjusted < SIGNIFICANCE else NOT_SHOWN
    return records


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (S. Holm, 1979).

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _counted(rows: pd.DataFrame) -> dict[str, Any]:
    n, correct = len(rows), int(rows["value"].sum())
    low, high = binomtest(correct, n).proportion_ci(0.95, method="exact")
    p = binomtest(correct, n, 0.5, alternative="greater").pvalue
    return {"n": n, "n_correct": correct, "share": correct / n, "low": float(low), "high": float(high), "p": float(p)}
