"""Rows of the page's tables, as plain values for the template."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from audioptq.report.formats import DASH, TIMES, Column, Group, bits, format_number, shown_cells
from audioptq.report.measure.compare import SIGNS
from audioptq.report.measure.published import PublishedRow
from audioptq.report.measure.results import WHOLE_SET
from audioptq.score.table import MetricInfo

UNDER = {"size_mb": "size_ratio", "seconds_per_clip": "speedup"}


def folded(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The column groups of the page: ratios stand in small type under the size and the time that they are made from."""
    kept = []
    for group in groups:
        columns = [column for column in group.columns if column.name not in UNDER.values()]
        names = {column.name: column for column in group.columns}
        heads = [{"column": column, "under": names.get(UNDER.get(column.name, ""))} for column in columns]
        kept.append({"title": group.title, "heads": heads})
    return kept


def result_rows(
    table: pd.DataFrame, groups: Sequence[Group], comparisons: pd.DataFrame, excluded: pd.DataFrame, baseline: str
) -> list[dict[str, Any]]:
    """Rows of the main table with their cells, verdicts and numbers of excluded clips."""
    shown = shown_cells(table, [column for group in groups for column in group.columns], baseline)
    verdicts = comparisons.set_index(["recipe", "metric"])["verdict"].to_dict()
    heads = [(head["column"], head is group["heads"][0]) for group in folded(groups) for head in group["heads"]]
    rows = []
    for record in table.to_dict("records"):
        recipe = record["recipe"]
        cells = []
        for column, first in heads:
            cell = shown[column.name][recipe]
            word = verdicts.get((recipe, column.name), "")
            under = cell.interval
            if column.name in UNDER and cell.sort is not None:
                ratio = shown[UNDER[column.name]][recipe]
                under = f"{ratio.text}{TIMES}{f' ({ratio.interval})' if ratio.interval else ''}"
            cells.append(
                {**vars(cell), "interval": under, "verdict": word, "sign": SIGNS.get(word, ""), "first": first}
            )
        rows.append(
            {
                "recipe": recipe,
                "bits": bits(record),
                "bits_key": record["weight_bits"] * 100 + record["act_bits"],
                "compute": record["compute"],
                "cells": cells,
                "n_clips": record["n_clips"],
                "n_excluded": int(((excluded["recipe"] == recipe) & (excluded["clip_id"] != WHOLE_SET)).sum()),
                "is_baseline": recipe == baseline,
            }
        )
    return rows


def published_lines(published: Sequence[PublishedRow], groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Other people's rows under the main table, for those that have one of its columns."""
    heads = [(head["column"], head is group["heads"][0]) for group in folded(groups) for head in group["heads"]]
    return [
        {
            "recipe": row.recipe,
            "mark": row.mark,
            "cells": [{"text": row.text(column.name), "first": first} for column, first in heads],
        }
        for row in published
        if any(column.name in row.values for column, _ in heads)
    ]


def comparison_rows(
    comparisons: pd.DataFrame, metrics: Mapping[str, MetricInfo], columns: Mapping[str, Column]
) -> list[dict[str, Any]]:
    """Rows of the table of differences, as text and as keys to sort by."""
    rows = []
    for row in comparisons.to_dict("records"):
        decimals = columns[row["metric"]].decimals + 1
        low, high = (format_number(row[end], decimals) for end in ("low", "high"))
        rows.append(
            {
                "recipe": row["recipe"],
                "metric": metrics[row["metric"]].label,
                "difference": format_number(row["difference"], decimals),
                "difference_key": row["difference"],
                "interval": DASH if pd.isna(row["low"]) else f"{low} to {high}",
                "floor": format_number(row["noise_floor"], decimals),
                "floor_key": "" if pd.isna(row["noise_floor"]) else row["noise_floor"],
                "margin": format_number(row["margin"], decimals),
                "margin_key": "" if pd.isna(row["margin"]) else row["margin"],
                "verdict": row["verdict"],
                "sign": SIGNS.get(row["verdict"], ""),
                "needed": "" if pd.isna(row["n_needed"]) else f"{row['n_needed']:,}",
                "needed_key": "" if pd.isna(row["n_needed"]) else row["n_needed"],
                "reason": row["reason"],
                "n_pairs": row["n_pairs"],
            }
        )
    return rows
