"""The look of every figure: colours, type, and writing as SVG."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from audioptq.files.artifacts import atomic_path
from audioptq.report.measure.compare import BETTER, UNCLEAR, WITHIN, WORSE
from audioptq.score.table import MetricInfo

# Okabe and Ito's palette: distinct for every common kind of colour vision; markers say the same a second time.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
# The page swaps these three for its own text, rule and paper colours, so that one drawing serves light and dark.
INK, RULE, PAPER = "#20242b", "#c9ced6", "#fffffe"
COLOURS = {"float": BLUE, "integer": VERMILION, "simulated": PURPLE}
MARKERS = {"float": "o", "integer": "s", "simulated": "^"}
VERDICT_COLOURS = {WORSE: VERMILION, BETTER: BLUE, WITHIN: GREEN, UNCLEAR: "#7d8590"}
VERDICT_MARKERS = {WORSE: "v", BETTER: "^", WITHIN: "o", UNCLEAR: "D"}
DASHES = (0, (4, 3))
SIGMA, ALPHA = "\N{GREEK SMALL LETTER SIGMA}", "\N{GREEK SMALL LETTER ALPHA}"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "audioptq",
    # Names of recipes and layers are shown as they are, dollar signs included.
    "text.parse_math": False,
    **dict.fromkeys(("axes.labelcolor", "axes.titlecolor", "text.color", "xtick.color", "ytick.color"), INK),
}


@contextmanager
def drawing(path: str | Path, width: float, height: float) -> Iterator[Figure]:
    """Yields a figure of `width` by `height` inches and writes it as SVG: the same bytes for the same data."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": "audioptq"})


def panels(figure: Figure, n: int, columns: int) -> list[Axes]:
    """`n` axes in a grid of at most `columns` columns."""
    columns = min(n, columns)
    rows = -(-n // columns)
    grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for spare in grid[n:]:
        spare.remove()
    return list(grid[:n])


def heading(info: MetricInfo) -> str:
    """A metric's name with the arrow that says which way is better."""
    return f"{info.label} {'↑' if info.higher_is_better else '↓'}"


def unit_of(info: MetricInfo) -> str:
    """The unit in brackets, or nothing for a pure number."""
    return "" if info.unit in ("", "1") else f"({info.unit})"


def axis_label(info: MetricInfo) -> str:
    """Axis label: short name and unit."""
    return f"{info.label.partition('(')[0].strip()} {unit_of(info)}".strip()


def add_legend(figure: Figure, handles: list[Any], has_floor: bool) -> None:
    """One legend below all panels; with a noise floor, its band is explained too."""
    if has_floor:
        handles = [*handles, Patch(color=ORANGE, alpha=0.3, label="noise floor (another seed)")]
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, len(handles)), fontsize=8)
