"""The bench's figures: every form under the machine's roof, and how many times as fast as full precision it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from audioptq.bench.plan import STEP
from audioptq.report.figures.style import COLOURS, DASHES, INK, MARKERS, PAPER, drawing, panels, place_labels

ROOFS = ("-", (0, (6, 2)), (0, (4, 2, 1, 2)), (0, (1, 1.5)))
KEYS = ["model", "what", "latents", "batch"]


def roofline(path: str | Path, table: pd.DataFrame, ceilings: Mapping[str, Any]) -> None:
    """A panel per model and size: operations per second over operations per byte, below the measured ceilings.

    The roof of a kind of product is `min(its highest rate, bandwidth x intensity)` (Williams et al., Roofline, 2009).
    """
    ran = table[table["operations"].notna()]
    groups = list(ran.groupby(KEYS, sort=False))
    rates = {name: found["per_second"] for name, found in ceilings["products"].items() if found["per_second"]}
    bandwidth = max(ceilings["bandwidth"].values())
    columns = min(2, max(1, len(groups)))
    with drawing(path, 5.4 * columns, 3.6 * max(1, -(-len(groups) // columns)) + 0.6) as figure:
        for axes, (key, rows) in zip(panels(figure, len(groups), columns), groups, strict=True):
            _roofline_panel(axes, _title(key), rows, rates, bandwidth)
        roofs = [
            Line2D([], [], color=INK, lw=0.9, ls=style, label=name) for style, name in zip(ROOFS, rates, strict=False)
        ]
        _add_legend(figure, [*_computes(ran), *roofs])
        # Labels are placed last: their boxes are measured on the finished layout.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes, (_, rows) in zip(figure.axes, groups, strict=True):
            intensity, rate = _place(rows)
            place_labels(axes, intensity, rate / 1e9, rows["form"].tolist())


def ratios(path: str | Path, table: pd.DataFrame) -> None:
    """A panel per model and size: how many times as fast as full precision each form is, with its interval."""
    ran = table[table["ratio"].notna()]
    groups = list(ran.groupby(KEYS, sort=False))
    tallest = max((len(rows) for _, rows in groups), default=1)
    columns = min(2, max(1, len(groups)))
    with drawing(path, 5.4 * columns, (0.9 + 0.19 * tallest) * max(1, -(-len(groups) // columns)) + 0.5) as figure:
        for axes, (key, rows) in zip(panels(figure, len(groups), columns), groups, strict=True):
            _ratio_panel(axes, _title(key), rows)
        _add_legend(figure, _computes(ran))


def _roofline_panel(axes: Axes, title: str, rows: pd.DataFrame, rates: Mapping[str, float], bandwidth: float) -> None:
    axes.set_title(title)
    axes.set_xlabel("operations per byte")
    axes.set_ylabel("GOP/s")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    intensity, rate = _place(rows)
    span = np.geomspace(intensity.min() / 8, intensity.max() * 8, 200)
    for style, highest in zip(ROOFS, rates.values(), strict=False):
        axes.plot(span, np.minimum(highest, bandwidth * span) / 1e9, color=INK, lw=0.9, ls=style, alpha=0.6)
    for compute, x, y in zip(rows["compute"], intensity, rate, strict=True):
        axes.plot(x, y / 1e9, marker=MARKERS[compute], color=COLOURS[compute], ms=5, ls="", mec=PAPER, mew=0.6)
    axes.set_ylim(rate.min() / 1e9 / 4, max(*rates.values(), rate.max()) / 1e9 * 2)


def _ratio_panel(axes: Axes, title: str, rows: pd.DataFrame) -> None:
    axes.set_title(title)
    axes.set_xlabel("times as fast as eager float32")
    places = np.arange(len(rows))[::-1]
    axes.barh(places, rows["ratio"], height=0.7, color=[COLOURS[compute] for compute in rows["compute"]], alpha=0.85)
    axes.hlines(places, rows["ratio_low"], rows["ratio_high"], color=INK, lw=1)
    axes.axvline(1.0, color=INK, lw=0.8, ls=DASHES)
    axes.set_yticks(places, rows["form"], fontsize=7)
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-0.7, len(rows) - 0.3)


def _place(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Operations per byte, and operations per second."""
    operations = rows["operations"].to_numpy(float)
    return operations / rows["moved_bytes"].to_numpy(float), operations / rows["seconds"].to_numpy(float)


def _computes(rows: pd.DataFrame) -> list[Any]:
    return [
        Line2D([], [], marker=MARKERS[c], color=COLOURS[c], ls="", label=c)
        for c in COLOURS
        if c in set(rows["compute"])
    ]


def _add_legend(figure: Figure, handles: list[Any]) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), fontsize=8)


def _title(key: Any) -> str:
    model, what, latents, batch = key
    return f"{model}: {'guided step' if what == STEP else 'generation'}, {latents} latents, batch {batch}"
