"""The table: one row per recipe, as CSV (the contract), Markdown and LaTeX."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audioptq.report.aggregate import Plan, estimate_metric
from audioptq.report.inputs import UNUSABLE

FIRST = ("model", "recipe", "weight_bits", "act_bits", "compute")
LAST = ("size_bytes", "size_ratio", "seconds_per_clip", "speedup", "n_clips", "seeds")


@dataclass(frozen=True)
class Column:
    """How one measured column is shown: heading, unit, direction, decimals; `interval` when it has one."""

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool | None = None
    decimals: int = 2
    interval: bool = False
    comparable: bool = True

    @property
    def heading(self) -> str:
        """Label, unit and the arrow that says which way is better."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]
        return f"{self.label}{f' ({self.unit})' if self.unit else ''}{arrow}"


def build_table(
    model: str,
    recipes: Mapping[str, Mapping[str, Any]],
    scores: pd.DataFrame,
    metrics: Sequence[str],
    manifest: pd.DataFrame,
    sizes: Mapping[str, Mapping[str, Any]],
    baseline: str,
    plan: Plan,
) -> pd.DataFrame:
    """One row per recipe with the columns of the contract; `scores` and `manifest` hold no noise-floor rows.

    A metric that no recipe has gives no column; a recipe without a metric, a size or a time gives an empty cell, never zero.
    `seconds_per_clip` is the median wall time over clips: one disturbed clip does not move it.
    """
    rows = []
    for recipe, record in recipes.items():
        own = scores[scores["recipe"] == recipe]
        row: dict[str, Any] = {"model": model, "recipe": recipe, **describe_recipe(recipe, record)}
        for metric in metrics:
            estimate = estimate_metric(own[own["metric"] == metric], plan)
            values = (estimate.value, estimate.low, estimate.high) if estimate else (math.nan,) * 3
            row |= dict(zip((metric, f"{metric}_low", f"{metric}_high"), values, strict=True))
        clips = manifest[manifest["recipe"] == recipe]
        usable = clips[~clips["status"].isin(UNUSABLE)]
        row["size_bytes"] = sizes.get(recipe, {}).get("total")
        row["seconds_per_clip"] = float(clips["seconds"].median()) if len(clips) else math.nan
        row["n_clips"] = len(usable) if len(clips) else own.loc[own["value"].notna() & own["clip_id"].notna(), ["seed", "clip_id"]].drop_duplicates().shape[0]
        row["seeds"] = " ".join(str(seed) for seed in sorted(set(own["seed"]) | set(clips["seed"])))
        rows.append(row)
    table = pd.DataFrame(rows)
    table["size_bytes"] = pd.array(table["size_bytes"], dtype="Int64")
    reference = table.loc[table["recipe"] == baseline].iloc[0]
    table["size_ratio"] = table["size_bytes"].astype("Float64").to_numpy(float, na_value=np.nan) / float(
        np.nan if pd.isna(reference["size_bytes"]) else reference["size_bytes"]
    )
    table["speedup"] = reference["seconds_per_clip"] / table["seconds_per_clip"]
    present = [metric for metric in metrics if table[metric].notna().any()]
    measured = [name for metric in present for name in (metric, f"{metric}_low", f"{metric}_high")]
    return table.loc[:, [*FIRST, *measured, *LAST]]


def describe_recipe(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Bits and arithmetic of a recipe: what its record states, else what follows from its axes.

    Without a weight entry the recipe is full precision: 32 bits, or 16 when its name or `dtype` says a 16-bit float.
    """
    full = 16 if "16" in str(record.get("dtype", name if name in ("bf16", "fp16") else "")) else 32
    weight, activation = (record.get(axis) or {} for axis in ("weight", "activation"))
    act_bits = record.get("act_bits") or activation.get("bits") or (full if not weight else 16)
    simulated = (record.get("smoothing") or {}).get("form") == "simulated" or name.endswith("_sim")
    integer = bool(weight) and bool(activation.get("bits"))
    compute = record.get("compute") or ("simulated" if simulated else "integer" if integer else "float")
    return {"weight_bits": int(record.get("weight_bits") or weight.get("bits") or full), "act_bits": int(act_bits), "compute": compute}


def decimals_for(table: pd.DataFrame, metric: str) -> int:
    """Decimals that show the first two digits of a typical interval's half-width, so that no digit shown is pure noise."""
    half = ((table[f"{metric}_high"] - table[f"{metric}_low"]) / 2).replace(0.0, np.nan).median()
    if not np.isfinite(half):
        return 3
    return int(np.clip(1 - math.floor(math.log10(half)), 0, 6))


def marks(table: pd.DataFrame, column: Column) -> dict[str, str]:
    """`best` and `second` by recipe, among what the table shows (equal printed values share a mark); empty when fewer than two."""
    values = table.set_index("recipe")[column.name].dropna().astype(float).round(column.decimals)
    if column.higher_is_better is None or not column.comparable or len(values) < 2:
        return {}
    ranked = sorted(set(values), reverse=column.higher_is_better)
    ranks = dict(zip(ranked, ("best", "second"), strict=False))
    return {str(recipe): ranks[value] for recipe, value in values.items() if value in ranks}


def format_number(value: Any, decimals: int) -> str:
    """A number with a true minus sign, or a dash for an absent one."""
    if value is None or pd.isna(value):
        return "–"
    return f"{float(value):.{decimals}f}".replace("-", "−")


def guard_cell(value: Any) -> Any:
    """Puts an apostrophe before text that a spreadsheet would run as a formula; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and value else value


def to_csv(frame: pd.DataFrame) -> str:
    """CSV with guarded text cells; floats to 10 significant digits."""
    guarded = frame.copy()
    for name in guarded.columns[guarded.dtypes == object]:
        guarded[name] = guarded[name].map(guard_cell)
    return guarded.to_csv(index=False, float_format="%.10g", lineterminator="\n")
