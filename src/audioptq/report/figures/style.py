"""The look of every figure: colours, type, names beside points, and writing as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke

from audioptq.files.artifacts import atomic_path
from audioptq.noise_levels import NAMES
from audioptq.report.measure.compare import NO_VERDICT
from audioptq.score.verdict import BETTER, DIFFERENT, EQUIVALENT, NOT_ENOUGH, WORSE

# Okabe and Ito's palette: distinct for every common kind of colour vision; markers say the same a second time.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
# The page swaps these three for its own text, rule and paper colours, so that one drawing serves light and dark.
INK, RULE, PAPER = "#20242b", "#c9ced6", "#fffffe"
COLOURS = {"float": BLUE, "integer": VERMILION, "simulated": PURPLE}
MARKERS = {"float": "o", "integer": "s", "simulated": "^"}
GREY = "#7d8590"
VERDICT_COLOURS = {
    WORSE: VERMILION,
    BETTER: BLUE,
    EQUIVALENT: GREEN,
    DIFFERENT: GREEN,
    NOT_ENOUGH: GREY,
    NO_VERDICT: INK,
}
VERDICT_MARKERS = {WORSE: "v", BETTER: "^", EQUIVALENT: "o", DIFFERENT: "s", NOT_ENOUGH: "D", NO_VERDICT: "."}
DASHES = (0, (4, 3))
Box = tuple[float, float, float, float]
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


def level_symbol(metadata: Mapping[str, Any]) -> str:
    """What a noise level is called: the file's `level_name`, or what its objective calls it, or else sigma."""
    name = metadata.get("level_name") or NAMES.get(metadata.get("objective", ""), "sigma")
    return SIGMA if name == "sigma" else str(name)


def add_legend(figure: Figure, handles: list[Any], has_floor: bool) -> None:
    """One legend below all panels; with another seed of the baseline, its band is explained too."""
    if has_floor:
        handles = [*handles, Patch(color=ORANGE, alpha=0.3, label="another seed")]
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, len(handles)), fontsize=8)


def place_labels(axes: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str], fontsize: float = 6.5) -> None:
    """Names points: each name takes the nearest place free of points and other names, and a thin line leads to it.

    A name for which no place is left is not written.

    Args:
        axes: Axes whose layout is final, since boxes are measured in it.
        x: Horizontal positions in data units `[points]`.
        y: Vertical positions in data units `[points]`.
        names: One name per point.
        fontsize: In points.
    """
    points = axes.transData.transform(np.column_stack([x, y]))
    scale = axes.figure.dpi / 72.0
    height = fontsize * 1.25 * scale
    frame = axes.get_window_extent()
    taken: list[Box] = [(px - 4 * scale, py - 4 * scale, px + 4 * scale, py + 4 * scale) for px, py in points]
    offsets = [(side, lift * height * 0.55) for lift in _outward(60) for side in (1, -1)]
    for index in np.argsort(-points[:, 1]):
        width = len(names[index]) * fontsize * 0.6 * scale
        boxes = (_label_box(points[index], width, height, side, lift, 7 * scale) for side, lift in offsets)
        box = next((b for b in boxes if _inside(b, frame) and not any(_overlap(b, other) for other in taken)), None)
        if box is None:
            continue
        taken.append(box)
        right = box[0] > points[index, 0]
        at = axes.transData.inverted().transform((box[0] if right else box[2], (box[1] + box[3]) / 2))
        axes.annotate(
            names[index],
            (x[index], y[index]),
            xytext=(float(at[0]), float(at[1])),
            ha="left" if right else "right",
            va="center",
            fontsize=fontsize,
            arrowprops={"arrowstyle": "-", "color": RULE, "lw": 0.6, "shrinkA": 0, "shrinkB": 3},
            path_effects=[Stroke(linewidth=2.2, foreground=PAPER), Normal()],
        )


def _outward(n: int) -> list[int]:
    """0, 1, -1, 2, -2 and so on, `n` steps each way."""
    return sorted(range(-n, n + 1), key=abs)


def _label_box(point: np.ndarray, width: float, height: float, side: int, lift: float, gap: float) -> Box:
    left = point[0] + gap if side > 0 else point[0] - gap - width
    middle = point[1] + lift
    return (left, middle - height / 2, left + width, middle + height / 2)


def _inside(box: Box, frame: Any) -> bool:
    return box[0] >= frame.x0 and box[2] <= frame.x1 and box[1] >= frame.y0 and box[3] <= frame.y1


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
