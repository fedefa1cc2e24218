"""How numbers, metrics and columns are written, whatever they stand in: the table, a figure or the page."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audioptq.score.table import MetricInfo

MAX_DECIMALS = 4
DASH, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
ARROWS = {True: "↑", False: "↓", None: ""}


def format_number(value: Any, decimals: int) -> str:
    """A number with a true minus sign, or a dash for an absent one."""
    return DASH if value is None or pd.isna(value) else signed(f"{float(value):.{decimals}f}")


def signed(text: str) -> str:
    """A printed number with a true minus sign in place of the hyphen."""
    return text.replace("-", MINUS)


def unit_of(info: MetricInfo) -> str:
    """A metric's unit; empty for a pure number."""
    return "" if info.unit in ("", "1") else info.unit


def heading(info: MetricInfo) -> str:
    """A metric's name with the arrow that says which way is better."""
    return f"{info.label} {ARROWS[info.higher_is_better]}"


def bracketed_unit(info: MetricInfo) -> str:
    """A metric's unit in brackets; empty for a pure number."""
    return f"({unit_of(info)})" if unit_of(info) else ""


def axis_label(info: MetricInfo) -> str:
    """A metric's short name and unit."""
    return f"{info.label.partition('(')[0].strip()} {bracketed_unit(info)}".strip()


def bits(row: Mapping[str, Any]) -> str:
    """Weight and activation bits as in `W8A8`."""
    return f"W{row['weight_bits']}A{row['act_bits']}"


@dataclass(frozen=True)
class Column:
    """How one measured column is shown: heading, unit, direction, decimals, and whether it has an interval.

    `is_distance` marks distances to full precision's own clips, `is_time` what is measured with a clock.
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
        return ARROWS[self.higher_is_better]

    @property
    def short(self) -> str:
        """The label up to its first bracket."""
        return self.label.partition("(")[0].strip()

    @property
    def detail(self) -> str:
        """What the label has in brackets, and the unit."""
        return ", ".join([*re.findall(r"\(([^)]*)\)", self.label), *([self.unit] if self.unit else [])])


@dataclass(frozen=True)
class Group:
    """Neighbouring columns under one heading."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Cell:
    """One shown cell: text, interval (empty when there is none), `best`, `second` or neither, and a key to sort by."""

    text: str
    interval: str = ""
    mark: str = ""
    sort: Any = None


def measured_groups(table: pd.DataFrame, metrics: Mapping[str, MetricInfo]) -> list[Group]:
    """Groups of measured columns that `table` has: quality, distance to full precision, size, speed.

    Metrics of `metrics` that no recipe has are left out.
    """
    quality: list[Column] = []
    distance: list[Column] = []
    for metric, info in metrics.items():
        if metric not in table:
            continue
        decimals = decimals_for(table, metric)
        column = Column(
            metric, info.label, unit_of(info), info.higher_is_better, decimals, True, is_distance=info.is_distance
        )
        (distance if info.is_distance else quality).append(column)
    groups = [
        Group("Quality", tuple(quality)),
        Group("Distance to full precision", tuple(distance)),
        Group("Size", (Column("size_mb", "Size", "MB", False), Column("size_ratio", "Size ratio", "", None, 3))),
        Group(
            "Speed",
            (
                Column("seconds_per_clip", "Time", "s/clip", False, 3, interval=True, is_time=True),
                Column("speedup", "Speed-up", "", True, interval=True, is_time=True),
            ),
        ),
    ]
    return [group for group in groups if any(_values(table, column).notna().any() for column in group.columns)]


def _values(table: pd.DataFrame, column: Column) -> pd.Series:
    source = table["size_bytes"].astype("Float64") / 1e6 if column.name == "size_mb" else table[column.name]
    return pd.Series(pd.to_numeric(source).to_numpy(float, na_value=float("nan")), index=table.index)


def shown_cells(table: pd.DataFrame, columns: Sequence[Column], baseline: str) -> dict[str, dict[str, Cell]]:
    """Cells by column name and recipe.

    Two rankings leave rows out: distances the baseline, which is at distance zero from itself, and times the simulated
    recipes, whose time says nothing of integer arithmetic.
    """
    shown = {}
    for column in columns:
        values = _values(table, column)
        ranked = table.assign(**{column.name: values})
        if column.is_distance:
            ranked = ranked[ranked["recipe"] != baseline]
        if column.is_time:
            ranked = ranked[ranked["compute"] != "simulated"]
        mark = marks(ranked, column)
        cells = {}
        for index, recipe in table["recipe"].items():
            low, high = (
                table.at[index, f"{column.name}{end}"] if column.interval else None for end in ("_low", "_high")
            )
            known = low is not None and not pd.isna(low) and not pd.isna(high)
            interval = (
                f"{format_number(low, column.decimals)} to {format_number(high, column.decimals)}" if known else ""
            )
            sort = None if pd.isna(values[index]) else float(values[index])
            cells[str(recipe)] = Cell(
                format_number(values[index], column.decimals), interval, mark.get(str(recipe), ""), sort
            )
        shown[column.name] = cells
    return shown


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
