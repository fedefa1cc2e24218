"""A figure of single layers: what smoothing per timestep could gain in each, and how many vectors each got."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from audioptq.report.figures.style import PAPER, drawing
from audioptq.report.formats import DASH, TIMES

Places = Mapping[str, tuple[str, str]]
# Of a cell's number: neither is a colour that the page swaps, for the cells keep theirs in the dark.
ON_LIGHT, ON_DARK = "#14171c", "#ffffff"


@dataclass(frozen=True)
class LayerGrid:
    """One number for each layer.

    Attributes:
        title: What the number is, and its unit.
        values: By name of the layer.
        decimals: Shown of it.
    """

    title: str
    values: Mapping[str, float]
    decimals: int = 0


def layer_grids(tables: Mapping[str, pd.DataFrame], recipes: Mapping[str, Any]) -> list[LayerGrid]:
    """What the tables of layers (`layers.parquet` by recipe) have to show; `recipes` are the config entries.

    The share of interaction and the gap of one static vector belong to the calibration, whichever recipe measured them.
    The vectors of the recipes that group timesteps follow; recipes that agree share a grid.
    """
    share = _first(_column(table, "interaction") for table in tables.values())
    static = [table[table["rows"] == 1] for table in tables.values() if "rows" in table and table["rows"].max() == 1]
    gap = _first(_column(table, "smoothing_gap") for table in static)
    percent = {name: 100 * value for name, value in share.items()}
    grids = [
        LayerGrid(f"share of log |X|max that is timestep {TIMES} channel (%)", percent),
        LayerGrid("what one static vector leaves to a vector per timestep (bits)", gap, decimals=2),
    ]
    alike: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for recipe, table in tables.items():
        smoothing = (recipes.get(recipe) or {}).get("smoothing") or {}
        if smoothing.get("kind") == "grouped":
            rows = tuple((name, value) for name, value in _column(table, "rows").items() if value)
            alike.setdefault(rows, []).append(recipe)
    grids += [LayerGrid(f"smoothing vectors of {', '.join(names)}", dict(rows)) for rows, names in alike.items()]
    return [grid for grid in grids if grid.values]


def places_of(tables: Iterable[pd.DataFrame]) -> dict[str, tuple[str, str]]:
    """Block and role of each layer, as the model names them (columns `block` and `role` of `layers.parquet`).

    A layer without a role, or with one that another layer of its block has too, is left out: it goes by its name.
    """
    found: dict[str, tuple[str, str]] = {}
    for table in tables:
        if {"layer", "block", "role"} <= set(table):
            named = table[table["role"].notna() & (table["role"] != "")]
            blocks = named["block"].fillna("").astype(str)
            found |= dict(zip(named["layer"], zip(blocks, named["role"], strict=True), strict=True))
    times = Counter(found.values())
    return {layer: place for layer, place in found.items() if times[place] == 1}


def layer_title(layer: str, places: Places) -> str:
    """A layer as titles name it: its role and its block, or its name where the model gives it no role."""
    block, role = places.get(layer, ("", layer))
    return f"{role} of block {block}" if block else role


def layers(path: str | Path, grids: Sequence[LayerGrid], places: Places) -> None:
    """A panel for each grid: roles of layers from top to bottom, blocks from left to right; both in the model's order."""
    found = {name: places.get(name, ("", name)) for grid in grids for name in grid.values}
    roles = list(dict.fromkeys(role for _, role in found.values()))
    blocks = list(dict.fromkeys(block for block, _ in found.values()))
    width = 1.0 + 0.07 * max(map(len, roles)) + 0.36 * max(len(blocks), 10)
    with drawing(path, width, len(grids) * (0.23 * len(roles) + 0.65)) as figure:
        for axes, grid in zip(np.ravel(figure.subplots(len(grids), 1)), grids, strict=True):
            matrix = np.full((len(roles), len(blocks)), np.nan)
            for name, value in grid.values.items():
                block, role = found[name]
                matrix[roles.index(role), blocks.index(block)] = value
            _panel(axes, matrix, grid.decimals)
            axes.set_xticks(np.arange(len(blocks)) + 0.5, [block or DASH for block in blocks], fontsize=7.5)
            axes.set_yticks(np.arange(len(roles)) + 0.5, roles, fontsize=7.5)
            axes.set_title(grid.title, fontsize=9)
        figure.axes[-1].set_xlabel("block")


def _panel(axes: Axes, matrix: np.ndarray, decimals: int) -> None:
    top = float(np.nanmax(matrix)) or 1.0
    cells = np.ma.masked_invalid(matrix)
    axes.pcolormesh(cells, cmap="Blues", vmin=0, vmax=top, edgecolors=PAPER, linewidth=1)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            colour = ON_DARK if value > 0.6 * top else ON_LIGHT
            axes.text(
                column + 0.5, row + 0.5, f"{value:.{decimals}f}", ha="center", va="center", fontsize=6.5, color=colour
            )  # fmt: skip


def _column(table: pd.DataFrame, name: str) -> dict[str, float]:
    if name not in table or "layer" not in table:
        return {}
    values = table.set_index("layer")[name].astype(float).dropna()
    return {str(layer): float(value) for layer, value in values.items()}


def _first(columns: Iterable[dict[str, float]]) -> dict[str, float]:
    return next((column for column in columns if column), {})
