"""Names beside points, none over another."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import Normal, Stroke

from audioptq.report.figures.style import PAPER, RULE

Box = tuple[float, float, float, float]


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
