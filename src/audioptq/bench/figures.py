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
    ran = ran.assign(intensity=ran["operations"] / ran["moved_bytes"], rate=ran["operations"] / ran["seconds"] / 1e9)
    groups = list(ran.groupby(KEYS, sort=False))
    roofs = {name: found["per_second"] / 1e9 for name, found in ceilings["products"].items() if found["per_second"]}
    bandwidth = max(ceilings["bandwidth"].values()) / 1e9
    columns = min(2, max(1, len(groups)))
    with drawing(path, 5.4 * columns, 3.6 * max(1, -(-len(groups) // columns)) + 0.6) as figure:
        for axes, (key, rows) in zip(panels(figure, len(groups), columns), groups, strict=True):
            axes.set(title=_title(key), xlabel="operations per byte", ylabel="GOP/s", xscale="log", yscale="log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(NullFormatter())
            span = np.geomspace(rows["intensity"].min() / 8, rows["intensity"].max() * 8, 200)
            for style, roof in zip(ROOFS, roofs.values(), strict=False):
                axes.plot(span, np.minimum(roof, bandwidth * span), color=INK, lw=0.9, ls=style, alpha=0.6)
            for row in rows.itertuples():
                colour, marker = COLOURS[row.compute], MARKERS[row.compute]
                axes.plot(row.intensity, row.rate, marker=marker, color=colour, ms=5, ls="", mec=PAPER, mew=0.6)
            axes.set_ylim(rows["rate"].min() / 4, max(*roofs.values(), rows["rate"].max()) * 2)
        styles = zip(ROOFS, roofs, strict=False)
        _add_legend(figure, ran, [Line2D([], [], color=INK, lw=0.9, ls=style, label=name) for style, name in styles])
        # Labels are placed last: their boxes are measured on the finished layout.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes, (_, rows) in zip(figure.axes, groups, strict=True):
            place_labels(axes, rows["intensity"].to_numpy(), rows["rate"].to_numpy(), rows["form"].tolist())


def ratios(path: str | Path, table: pd.DataFrame) -> None:
    """A panel per model and size: how many times as fast as full precision each form is, with its interval."""
    ran = table[table["ratio"].notna()]
    groups = list(ran.groupby(KEYS, sort=False))
    tallest = max((len(rows) for _, rows in groups), default=1)
    columns = min(2, max(1, len(groups)))
    with drawing(path, 5.4 * columns, (0.9 + 0.19 * tallest) * max(1, -(-len(groups) // columns)) + 0.5) as figure:
        for axes, (key, rows) in zip(panels(figure, len(groups), columns), groups, strict=True):
            _bars(axes, _title(key), rows)
        _add_legend(figure, ran, [])


def _bars(axes: Axes, title: str, rows: pd.DataFrame) -> None:
    places = np.arange(len(rows))[::-1]
    axes.barh(places, rows["ratio"], height=0.7, color=[COLOURS[compute] for compute in rows["compute"]], alpha=0.85)
    axes.hlines(places, rows["ratio_low"], rows["ratio_high"], color=INK, lw=1)
    axes.axvline(1.0, color=INK, lw=0.8, ls=DASHES)
    axes.set(title=title, xlabel="times as fast as eager float32", ylim=(-0.7, len(rows) - 0.3))
    axes.set_yticks(places, rows["form"], fontsize=7)
    axes.grid(axis="y", visible=False)


def _add_legend(figure: Figure, rows: pd.DataFrame, others: list[Any]) -> None:
    found = [compute for compute in COLOURS if compute in set(rows["compute"])]
    handles = [Line2D([], [], marker=MARKERS[name], color=COLOURS[name], ls="", label=name) for name in found] + others
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), fontsize=8)


def _title(key: Any) -> str:
    model, what, latents, batch = key
    return f"{model}: {'guided step' if what == STEP else 'generation'}, {latents} latents, batch {batch}"
