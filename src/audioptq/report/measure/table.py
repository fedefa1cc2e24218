"""The table: one row per recipe, as CSV (the contract), and its main numbers as JSON."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from audioptq.audio.manifest import UNUSABLE
from audioptq.report.measure import times
from audioptq.report.measure.aggregate import Plan, estimate_metric
from audioptq.score.table import MetricInfo

FIRST = ("model", "recipe", "weight_bits", "act_bits", "compute")
LAST = ("size_bytes", "size_ratio", *times.COLUMNS, "n_clips", "seeds")
MAIN = ("size_ratio", "seconds_per_clip")


@dataclass(frozen=True)
class RecipeRow:
    """What the table says of a recipe before anything is measured."""

    name: str
    weight_bits: int
    act_bits: int
    compute: str


def build_table(
    model: str,
    recipes: Sequence[RecipeRow],
    scores: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    manifest: pd.DataFrame,
    sizes: Mapping[str, Mapping[str, Any]],
    baseline: str,
    plan: Plan,
) -> pd.DataFrame:
    """One row per recipe with the columns of the contract; `scores` and `manifest` hold no noise-floor rows.

    A metric that no recipe has gives no column; a recipe without a metric, a size or a time has an empty cell.
    """
    rows = []
    for recipe in recipes:
        own, clips = scores[scores["recipe"] == recipe.name], manifest[manifest["recipe"] == recipe.name]
        row: dict[str, Any] = {
            "model": model,
            "recipe": recipe.name,
            "weight_bits": recipe.weight_bits,
            "act_bits": recipe.act_bits,
            "compute": recipe.compute,
        }
        for metric, info in metrics.items():
            estimate = estimate_metric(own[own["metric"] == metric], plan, info.minimum)
            values = (estimate.value, estimate.low, estimate.high) if estimate else (math.nan,) * 3
            row |= dict(zip((metric, f"{metric}_low", f"{metric}_high"), values, strict=True))
        row["size_bytes"] = sizes.get(recipe.name, {}).get("total")
        row["n_clips"] = _n_clips(own, clips)
        row["seeds"] = " ".join(str(seed) for seed in sorted({*own["seed"], *clips["seed"]}))
        rows.append(row)
    table = pd.DataFrame(rows)
    size = pd.to_numeric(table["size_bytes"]).astype(float)
    reference = table.index[table["recipe"] == baseline][0]
    table["size_bytes"] = size.astype("Int64")
    table["size_ratio"] = size / size[reference]
    timed = times.time_columns(manifest, list(table["recipe"]), baseline, plan)
    table[list(times.COLUMNS)] = timed.to_numpy()
    present = [metric for metric in metrics if table[metric].notna().any()]
    measured = [name for metric in present for name in (metric, f"{metric}_low", f"{metric}_high")]
    return table.loc[:, [*FIRST, *measured, *LAST]]


def _n_clips(scores: pd.DataFrame, clips: pd.DataFrame) -> int:
    """Clips with usable audio; without a manifest, those that some metric has scored."""
    if len(clips):
        return int((~clips["status"].isin(UNUSABLE)).sum())
    scored = scores[scores["clip_id"].notna() & scores["value"].notna()]
    return len(scored[["seed", "clip_id"]].drop_duplicates())


def main_numbers(table: pd.DataFrame, metrics: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Point estimates by recipe and column, for tools that compare runs (`dvc metrics diff`).

    An empty cell has no entry, since JSON has no word for NaN.

    Args:
        table: One row per recipe, as `build_table` makes it.
        metrics: Columns to take beside the size ratio and the time per clip.
    """
    columns = [*metrics, *MAIN]
    rows = table.set_index("recipe")[columns].astype(float).to_dict("index")
    return {
        str(recipe): {name: value for name, value in row.items() if pd.notna(value)} for recipe, row in rows.items()
    }


def guard_cell(value: Any) -> Any:
    """Puts an apostrophe before text that a spreadsheet would run as a formula; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and value else value


def to_csv(frame: pd.DataFrame) -> str:
    """CSV with guarded text cells; floats to 10 significant digits."""
    guarded = frame.copy()
    for name in guarded.select_dtypes(include="object"):
        guarded[name] = guarded[name].map(guard_cell)
    return guarded.to_csv(index=False, float_format="%.10g", lineterminator="\n")
