"""Other people's numbers beside ours, and whether full precision reproduces them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from audioptq.errors import UserError, did_you_mean
from audioptq.report.formats import DASH, format_number, signed
from audioptq.report.measure.aggregate import Estimate
from audioptq.score.table import METRICS

WITHIN, OUTSIDE, NOT_COMPARABLE = "within", "outside", "not comparable"
TEXTS = ("source", "recipe")
COLUMNS = ("weight_bits", "act_bits", "size_mb", "size_ratio", "seconds_per_clip", "speedup")


@dataclass(frozen=True)
class PublishedRow:
    """A row of somebody's table.

    Attributes:
        source: Where it is printed.
        number: The source's number in the table's note, from 1.
        recipe: The recipe of ours that it stands for, or its name there.
        values: Metric or column of ours -> value.
    """

    source: str
    number: int
    recipe: str
    values: dict[str, float]

    @property
    def mark(self) -> str:
        """What stands in the column of the compute."""
        return f"published [{self.number}]"

    def text(self, column: str) -> str:
        """A value as it was given, a dash where there is none."""
        return signed(f"{self.values[column]:.10g}") if column in self.values else DASH


@dataclass(frozen=True)
class Reproduction:
    """Our full precision against one published number.

    Attributes:
        source: Where the number is printed.
        metric: The metric.
        published: The number.
        ours: Ours, with its interval; None where it was not measured.
        floor: Distance between two seeds of ours, None where there is no other seed.
        why: Why the two cannot be compared; empty where they can.
    """

    source: str
    metric: str
    published: float
    ours: Estimate | None
    floor: float | None
    why: str = ""

    @property
    def half_width(self) -> float:
        """Half of our interval; NaN without one."""
        return math.nan if self.ours is None else (self.ours.high - self.ours.low) / 2

    @property
    def tolerance(self) -> float:
        """How far a number may lie from ours: half our interval or the distance of another seed, whichever is larger."""
        known = [value for value in (self.half_width, self.floor) if value is not None and not math.isnan(value)]
        return max(known) if known else math.nan

    @property
    def difference(self) -> float:
        """Ours minus the published number."""
        return math.nan if self.ours is None else self.ours.value - self.published

    @property
    def verdict(self) -> str:
        """`within`, `outside` or `not comparable`."""
        if self.why:
            return NOT_COMPARABLE
        return WITHIN if abs(self.difference) <= self.tolerance else OUTSIDE

    def words(self, decimals: int) -> str:
        """The verdict with its figures."""
        if self.why:
            return f"{NOT_COMPARABLE} ({self.why})"
        bound = format_number(self.tolerance, decimals)
        if self.verdict == WITHIN:
            return f"within {bound}"
        return f"outside by {format_number(abs(self.difference) - self.tolerance, decimals)} (allowed {bound})"


def read_published(rows: Sequence[Mapping[str, Any]]) -> list[PublishedRow]:
    """Checks the config's rows: a source, and numbers under the ids of metrics or names of the table's columns.

    Raises:
        UserError: If a source is absent, or a key is neither; then nothing could ever be compared with it.
    """
    sources: dict[str, int] = {}
    legal = [*TEXTS, *METRICS, *COLUMNS]
    found = []
    for row in rows:
        source = str(row.get("source", ""))
        if not source:
            raise UserError("A row of `report.published` has no `source`. Say where its numbers are printed.")
        for key, value in row.items():
            if key not in legal:
                hint = did_you_mean(key, legal)
                raise UserError(
                    f"The row of `report.published` from {source!r} has {key!r}, which is neither a metric nor a column of "
                    f"the table.{hint} Legal are {', '.join(legal)}."
                )
            if key not in TEXTS and not _is_number(value):
                raise UserError(
                    f"In the row of `report.published` from {source!r}, {key} is {value!r} and not a number."
                )
        values = {key: float(value) for key, value in row.items() if key not in TEXTS}
        number = sources.setdefault(source, len(sources) + 1)
        found.append(PublishedRow(source, number, str(row.get("recipe", DASH)), values))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def reproductions(
    rows: Sequence[PublishedRow], table: pd.DataFrame, floors: Mapping[str, Estimate], baseline: str
) -> list[Reproduction]:
    """Compares our full precision with every published number of it."""
    ours = table.set_index("recipe").loc[baseline]
    found = []
    for row in rows:
        for metric, published in row.values.items() if row.recipe == baseline else ():
            if metric not in METRICS:
                continue
            estimate = _estimate(ours, metric)
            floor = abs(floors[metric].value) if metric in floors else None
            found.append(
                Reproduction(
                    row.source, metric, published, estimate, floor, _obstacle(metric, estimate, floor, baseline)
                )
            )
    return found


def _estimate(row: "pd.Series[Any]", metric: str) -> Estimate | None:
    if metric not in row or pd.isna(row[metric]):
        return None
    value, low, high = (float(row[f"{metric}{end}"]) for end in ("", "_low", "_high"))
    return Estimate(value, low, high)


def _obstacle(metric: str, ours: Estimate | None, floor: float | None, baseline: str) -> str:
    if METRICS[metric].is_distance:
        return f"{baseline} is at no distance from itself"
    if ours is None:
        return "not measured here"
    if math.isnan(ours.high - ours.low) and floor is None:
        return "neither an interval nor another seed"
    return ""


def warning(found: Sequence[Reproduction], baseline: str) -> str:
    """What a reader must know where our full precision is not the published one; empty where it is."""
    missed: dict[str, list[str]] = {}
    for entry in found:
        if entry.verdict == OUTSIDE:
            missed.setdefault(entry.source, []).append(METRICS[entry.metric].label)
    if not missed:
        return ""
    named = "; ".join(f"{source}: {', '.join(labels)}" for source, labels in missed.items())
    return (
        f"Warning: {baseline} does not reproduce published numbers ({named}). Absolute numbers of this run do not "
        "reproduce the publication and cannot be read against it; only differences between recipes of this run can."
    )


def summary(found: Sequence[Reproduction], decimals: Mapping[str, int], baseline: str) -> str:
    """One line on every published number, for the head of the table; empty without any."""
    if not found:
        return ""
    by_source: dict[str, list[str]] = {}
    for entry in found:
        places = decimals.get(entry.metric, 3) + 1
        value = DASH if entry.ours is None else format_number(entry.ours.value, places)
        text = (
            f"{METRICS[entry.metric].label} {value} against {signed(f'{entry.published:.10g}')}: {entry.words(places)}"
        )
        by_source.setdefault(entry.source, []).append(text)
    parts = [f"{source}: {'; '.join(texts)}." for source, texts in by_source.items()]
    return f"{baseline} against published numbers, before any recipe is judged. {' '.join(parts)}"


def reproduction_tables(found: Sequence[Reproduction], decimals: Mapping[str, int]) -> dict[str, list[list[str]]]:
    """Rows of the page's tables by source: measure, ours, published, difference, half interval, other seed, verdict."""
    tables: dict[str, list[list[str]]] = {}
    for entry in found:
        places = decimals.get(entry.metric, 3) + 1
        ours = DASH if entry.ours is None else format_number(entry.ours.value, places)
        if entry.ours is not None and not math.isnan(entry.half_width):
            ours += f" ({format_number(entry.ours.low, places)} to {format_number(entry.ours.high, places)})"
        tables.setdefault(entry.source, []).append(
            [
                METRICS[entry.metric].label,
                ours,
                signed(f"{entry.published:.10g}"),
                format_number(entry.difference, places),
                format_number(entry.half_width, places),
                DASH if entry.floor is None else format_number(entry.floor, places),
                entry.words(places),
            ]
        )
    return tables


def sources_note(rows: Sequence[PublishedRow]) -> str:
    """The numbered sources; empty without rows."""
    named = dict.fromkeys((row.number, row.source) for row in rows)
    return " ".join(f"[{number}] {source}." for number, source in named)
