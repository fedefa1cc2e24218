"""Figures of the results: quality against size, and the paired differences beside the noise floor."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from audioptq.report.figures.style import (
    COLOURS,
    DASHES,
    GREEN,
    INK,
    MARKERS,
    ORANGE,
    PAPER,
    VERDICT_COLOURS,
    VERDICT_MARKERS,
    add_legend,
    drawing,
    panels,
    place_labels,
)
from audioptq.report.formats import axis_label, bracketed_unit, heading, signed
from audioptq.report.measure.aggregate import Estimate
from audioptq.report.measure.compare import reach
from audioptq.score.table import MetricInfo

Metrics = Mapping[str, MetricInfo]
Floors = Mapping[str, Estimate]


def quality_against_size(
    path: str | Path, table: pd.DataFrame, metrics: Metrics, floors: Floors, baseline: str
) -> None:
    """One panel per metric: value with its interval against stored size (MB, log scale), over the noise floor's band.

    For distances to full precision, the band lies at the distance that another seed gives. Only the recipes on the
    frontier have their names beside them: with all names, a dozen recipes of two sizes are no longer readable. A value
    so far off that it would flatten the others is drawn at the edge, with its name and value.
    """
    sized = table[table["size_bytes"].notna()]
    columns = min(2, len(metrics))
    rows = -(-len(metrics) // columns)
    with drawing(path, 5.4 * columns, 3.3 * rows + 0.4) as figure:
        every = panels(figure, len(metrics), columns)
        named = [
            _size_panel(axes, sized[sized[metric].notna()], metric, info, floors.get(metric), baseline)
            for axes, (metric, info) in zip(every, metrics.items(), strict=True)
        ]
        computes = [name for name in COLOURS if name in set(sized["compute"])]
        handles: list[Any] = [Line2D([], [], marker=MARKERS[c], color=COLOURS[c], ls="", label=c) for c in computes]
        handles.append(Line2D([], [], color=INK, lw=0.8, ls=DASHES, label="full precision"))
        add_legend(figure, handles, bool(floors))
        # Labels are placed last: their boxes are measured on the finished layout.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes, names in zip(every, named, strict=True):
            if names:
                x, y = np.array(list(names.values())).T
                place_labels(axes, x, y, list(names))


def frontier(sizes: Sequence[float], values: Sequence[float], higher_is_better: bool) -> list[int]:
    """Places of the points that no other point betters: none is at most as large and at least as good, and not equal.

    Args:
        sizes: Stored sizes, in any unit.
        values: The metric's values, one per size.
        higher_is_better: The metric's direction.
    """
    costs = [(size, -value if higher_is_better else value) for size, value in zip(sizes, values, strict=True)]
    return [
        place
        for place, (size, cost) in enumerate(costs)
        if not any(s <= size and c <= cost and (s, c) != (size, cost) for s, c in costs)
    ]


def _size_panel(
    axes: Axes, rows: pd.DataFrame, metric: str, info: MetricInfo, floor: Estimate | None, baseline: str
) -> dict[str, tuple[float, float]]:
    """Draws a panel and returns the labels to place, each with its point in data units."""
    axes.set_title(heading(info))
    axes.set_xlabel("stored size (MB)")
    axes.set_ylabel(axis_label(info))
    axes.set_xscale("log")
    base = rows.loc[rows["recipe"] == baseline, metric]
    paired = info.is_distance
    if floor is not None and (paired or len(base)):
        low, high = _band(floor, paired)
        centre = 0.0 if paired else float(base.iloc[0])
        axes.axhspan(centre + low, centre + high, color=ORANGE, alpha=0.2, lw=0)
        if paired:
            axes.axhline(floor.value, color=ORANGE, lw=1)
    if len(base) and not paired:
        axes.axhline(float(base.iloc[0]), color=INK, lw=0.8, ls=DASHES)
    sizes, values = (rows["size_bytes"].astype(float) / 1e6).tolist(), rows[metric].astype(float).tolist()
    middle = float(base.iloc[0]) if len(base) else float(rows[metric].median())
    limit = _axis_limit(_farthest(rows, metric, middle), reach(floor))
    best = set(frontier(sizes, values, info.higher_is_better))
    named: dict[str, tuple[float, float]] = {}
    for place, row in enumerate(rows.to_dict("records")):
        size, value, colour = sizes[place], values[place], COLOURS[row["compute"]]
        if abs(value - middle) > limit:
            edge = middle + float(np.copysign(limit, value - middle))
            axes.plot(size, edge, marker="^" if value > middle else "v", color=colour, ms=5, ls="")
            named[f"{row['recipe']}: {value:.3g}"] = (size, edge)
            continue
        low, high = (float(np.clip(row[f"{metric}_{end}"], middle - limit, middle + limit)) for end in ("low", "high"))
        axes.vlines(size, low, high, color=colour, lw=1.2, alpha=0.5)
        axes.plot(size, value, marker=MARKERS[row["compute"]], color=colour, ms=5, ls="", mec=PAPER, mew=0.6)
        if place in best:
            named[row["recipe"]] = (size, value)
    axes.margins(x=0.25, y=0.1)
    low, high = axes.get_xlim()
    ticks = [step * 10.0**power for power in range(-3, 7) for step in (1, 1.5, 2, 3, 5, 7)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    return named


def _farthest(rows: pd.DataFrame, metric: str, middle: float) -> pd.Series:
    """How far each value or the end of its interval lies from `middle`, whichever is more."""
    columns = rows[[metric, f"{metric}_low", f"{metric}_high"]].astype(float)
    return (columns - middle).abs().max(axis=1)


def differences(path: str | Path, comparisons: pd.DataFrame, metrics: Metrics, floors: Floors, baseline: str) -> None:
    """One panel per metric, one line per recipe: its difference to the baseline, over the noise floor's band.

    A difference so large that it would flatten the others is drawn at the edge, with its value.
    """
    order = list(dict.fromkeys(comparisons["recipe"]))
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    with drawing(path, 3.6 * columns + 0.4, (0.19 * len(order) + 0.95) * rows + 0.4) as figure:
        for place, axes in enumerate(panels(figure, len(metrics), columns)):
            metric, info = list(metrics.items())[place]
            own = comparisons[comparisons["metric"] == metric].set_index("recipe")
            _difference_panel(axes, own, order, info, floors.get(metric), baseline)
            axes.set_yticks(range(len(order)), order if place % columns == 0 else [""] * len(order), fontsize=7.5)
        verdicts = set(comparisons["verdict"])
        shown = [word for word in VERDICT_COLOURS if word and word in verdicts]
        handles = [Line2D([], [], marker=VERDICT_MARKERS[w], color=VERDICT_COLOURS[w], ls="", label=w) for w in shown]
        add_legend(figure, handles, bool(floors))


def _difference_panel(
    axes: Axes, own: pd.DataFrame, order: Sequence[str], info: MetricInfo, floor: Estimate | None, baseline: str
) -> None:
    paired = info.is_distance
    if floor is not None:
        axes.axvspan(*_band(floor, paired), color=ORANGE, alpha=0.2, lw=0)
        if paired:
            axes.axvline(floor.value, color=ORANGE, lw=1)
    margins = own["margin"].dropna()
    if len(margins):
        for end in (margins.iloc[0],) if paired else (-margins.iloc[0], margins.iloc[0]):
            axes.axvline(end, color=GREEN, lw=1, ls=DASHES)
    axes.axvline(0.0, color=INK, lw=0.8)
    limit = _axis_limit(own["difference"].abs(), reach(floor))
    for line, recipe in enumerate(order):
        if recipe not in own.index:
            continue
        row = own.loc[recipe]
        colour, value = VERDICT_COLOURS[row["verdict"]], float(row["difference"])
        if abs(value) > limit:
            edge = np.copysign(limit, value)
            axes.plot(edge, line, marker=">" if value > 0 else "<", color=colour, ms=5, ls="")
            axes.annotate(
                signed(f"{value:.3g}"), (edge, line), xytext=(-6 if value > 0 else 6, 0), textcoords="offset points",
                ha="right" if value > 0 else "left", va="center", fontsize=6.5,
            )  # fmt: skip
            continue
        axes.hlines(line, max(row["low"], -limit), min(row["high"], limit), color=colour, lw=1.6)
        axes.plot(value, line, marker=VERDICT_MARKERS[row["verdict"]], color=colour, ms=5, ls="", mec=PAPER, mew=0.5)
    axes.set_title(heading(info))
    axes.set_xlabel(f"{'distance' if paired else 'difference'} to {baseline} {bracketed_unit(info)}".strip())
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.margins(x=0.06)
    axes.grid(axis="y", visible=False)


def _band(floor: Estimate, paired: bool) -> tuple[float, float]:
    """A distance has its own interval; a difference may fall on either side."""
    return (floor.low, floor.high) if paired else (-reach(floor), reach(floor))


def _axis_limit(sizes: pd.Series, band: float) -> float:
    """Where a panel ends: at its widest value, unless that is more than twice what three quarters of them need."""
    inner = max(float(sizes.quantile(0.75)) * 1.25, 1.5 * band)
    return inner if sizes.max() > 2 * inner else np.inf
