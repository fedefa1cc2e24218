"""The figure of a listening test, as the paper's figure 4: a bar for each variant, with its interval."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audioptq.listen.plan import ABX, MUSHRA, RATING
from audioptq.listen.stimuli.finished_run import BASELINE
from audioptq.report.figures.style import BLUE, INK, ORANGE, PURPLE, drawing

SCALES = {RATING: ("mean rating", 1, 5), MUSHRA: ("mean MUSHRA score", 0, 100), ABX: ("right answers (%)", 0, 100)}
CHANCE_PERCENT = 50


def label(variant: str) -> str:
    """What a variant is called.

    Example:
        >>> label("anchor_3k5"), label("w8a8_sqs")
        ('anchor 3.5 kHz', 'w8a8_sqs')
    """
    return {"anchor_3k5": "anchor 3.5 kHz", "anchor_7k": "anchor 7 kHz"}.get(variant, variant)


def draw(path: str | Path, mode: str, records: Sequence[Mapping[str, Any]], who: str) -> None:
    """Writes the figure as SVG.

    Args:
        path: File.
        mode: Of the test.
        records: With `variant`, `mean` (of an ABX `share`), `low`, `high` and `n`.
        who: Whose judgements these are: it says so if they are simulated.
    """
    title, least, most = SCALES[mode]
    times, name = (100, "share") if mode == ABX else (1, "mean")
    with drawing(path, max(4.4, 1.2 + 1.1 * len(records)), 3.4) as figure:
        axes = figure.subplots()
        for at, record in enumerate(records):
            height = times * record[name]
            axes.bar(at, height - least, bottom=least, width=0.58, color=_colour(record["variant"]), alpha=0.85)
            top = height
            if record["low"] is not None:
                below, above = height - times * record["low"], times * record["high"] - height
                axes.errorbar(at, height, yerr=[[max(below, 0)], [max(above, 0)]], color=INK, capsize=4, linewidth=1.2)
                top = max(height, min(times * record["high"], most))
            axes.annotate(
                f"{height:.{2 if mode == RATING else 0}f}", (at, top), (0, 3), textcoords="offset points", ha="center"
            )
        if mode == ABX:
            axes.axhline(CHANCE_PERCENT, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xticks(range(len(records)), [f"{label(record['variant'])}\nn = {record['n']}" for record in records])
        axes.set_ylim(least, most + 0.08 * (most - least))
        axes.set_yticks([1, 2, 3, 4, 5] if mode == RATING else range(0, 101, 20))
        axes.set_ylabel(title)
        axes.set_title(who)
        axes.grid(axis="x", visible=False)


def _colour(variant: str) -> str:
    if variant == BASELINE:
        return BLUE
    return ORANGE if variant.startswith("anchor_") else PURPLE
