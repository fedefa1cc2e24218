"""The table: one row per recipe, as CSV (the contract), Markdown and LaTeX."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audioptq.report.measure import times
from audioptq.report.measure.aggregate import Plan, estimate_metric
from audioptq.report.measure.inputs import UNUSABLE
from audioptq.score.table import MetricInfo

MAX_DECIMALS = 4
FIRST = ("model", "recipe", "weight_bits", "act_bits", "compute")
DASH, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
LAST = ("size_bytes", "size_ratio", *times.COLUMNS, "n_clips", "seeds")


@dataclass(frozen=True)
class RecipeRow:
    """What the table says of a recipe before anything is measured."""

    name: str
    weight_bits: int
    act_bits: int
    compute: str


@dataclass(frozen=True)
class Column:
    """How one measured column is shown: heading, unit, direction, decimals, and whether it has an interval.

    `is_distance` marks distances to the baseline's own clips, `is_time` what is measured with a clock.
    """

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool | None = None
    decimals: int = 2
    interval: bool = False
    is_distance: bool = False
    is_time: bool = False

    @property
    def heading(self) -> str:
        """Label, unit and the arrow that says which way is better."""
        return f"{self.label}{f' ({self.unit})' if self.unit else ''} {self.arrow}".rstrip()

    @property
    def arrow(self) -> str:
        """Which way is better; empty where neither is."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def short(self) -> str:
        """The label up to its first bracket."""
        return self.label.partition("(")[0].strip()

    @property
    def detail(self) -> str:
        """What the label has in brackets, and the unit."""
        return ", ".join([*re.findall(r"\(([^)]*)\)", self.label), *([self.unit] if self.unit else [])])


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


def decimals_for(table: pd.DataFrame, metric: str) -> int:
    """Decimals that show the first two digits of a typical interval's half-width, so that no digit is pure noise."""
    half = ((table[f"{metric}_high"] - table[f"{metric}_low"]) / 2).replace(0.0, np.nan).dropna()
    if half.empty:
        return 3
    return int(np.clip(1 - math.floor(math.log10(half.median())), 0, MAX_DECIMALS))


def marks(table: pd.DataFrame, column: Column) -> dict[str, str]:
    """`best` and `second` by recipe; values that print the same share a mark. Empty with fewer than two values."""
    values = table.set_index("recipe")[column.name].dropna().astype(float).round(column.decimals)
    if column.higher_is_better is None or len(values) < 2:
        return {}
    ranked = sorted(set(values), reverse=column.higher_is_better)
    ranks = dict(zip(ranked, ("best", "second"), strict=False))
    return {str(recipe): ranks[value] for recipe, value in values.items() if value in ranks}


def format_number(value: Any, decimals: int) -> str:
    """A number with a true minus sign, or a dash for an absent one."""
    return DASH if value is None or pd.isna(value) else signed(f"{float(value):.{decimals}f}")


def signed(text: str) -> str:
    """A printed number with a true minus sign in place of the hyphen."""
    return text.replace("-", MINUS)


def guard_cell(value: Any) -> Any:
    """Puts an apostrophe before text that a spreadsheet would run as a formula; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and value else value


def to_csv(frame: pd.DataFrame) -> str:
    """CSV with guarded text cells; floats to 10 significant digits."""
    guarded = frame.copy()
    for name in guarded.select_dtypes(include="object"):
        guarded[name] = guarded[name].map(guard_cell)
    return guarded.to_csv(index=False, float_format="%.10g", lineterminator="\n")
