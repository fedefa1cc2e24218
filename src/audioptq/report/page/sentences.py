"""What the page says: findings, rows, captions and notes, as plain values for the template."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from audioptq.report.measure.aggregate import Estimate
from audioptq.report.measure.compare import BETTER, UNCLEAR, WITHIN, WORSE
from audioptq.report.measure.inputs import WHOLE_SET
from audioptq.report.measure.published import PublishedRow
from audioptq.report.measure.table import TIMES, Column, format_number
from audioptq.report.page.formats import Group, bits, shown_cells
from audioptq.report.page.listen import Clip, Example
from audioptq.score.table import MetricInfo

SIGNS = {WORSE: "▼", BETTER: "▲", WITHIN: "≈", UNCLEAR: "?"}
UNDER = {"size_mb": "size_ratio", "seconds_per_clip": "speedup"}


def lead(table: pd.DataFrame, model: str, baseline: str) -> str:
    """The one paragraph that says what the page is."""
    others = len(table) - 1
    clips = int(table.loc[table["recipe"] == baseline, "n_clips"].iloc[0])
    return (
        f"{others} {'recipe' if others == 1 else 'recipes'} for post-training quantization of {model}, each compared "
        f"with the full-precision model ({baseline}) on {clips} clips made from the same prompts and the same noise."
    )


def cautions(table: pd.DataFrame, metrics: Mapping[str, MetricInfo], noise_floor_seed: int | None) -> list[str]:
    """What a reader must know before quoting a number."""
    found = []
    if any(metric.endswith("_mini") for metric in metrics):
        found.append(
            "Measures marked (mini) use the small evaluators that ship with the mini model. They compare recipes of "
            "one model; they are not comparable with published CLAP, KL or FD values."
        )
    if (table["compute"] == "simulated").any():
        found.append(
            "Recipes marked simulated ran their integers in floating point: their quality is that of the quantized "
            "model, their time is not."
        )
    if noise_floor_seed is None:
        found.append(
            "No second seed of the full-precision model was scored, so there is no noise floor to judge differences by."
        )
    return found


def verdict_meanings(has_floor: bool) -> list[tuple[str, str, str]]:
    """Each verdict with its sign and its meaning."""
    beyond = ", and the difference is larger than the noise floor" if has_floor else ""
    meanings = {
        WORSE: f"the interval of the difference lies on the bad side of zero{beyond}.",
        BETTER: "the same on the good side.",
        WITHIN: "the whole interval lies inside the noise floor.",
        UNCLEAR: "neither can be said with this many clips.",
    }
    return [(word, SIGNS[word], text) for word, text in meanings.items() if has_floor or word != WITHIN]


def findings(
    table: pd.DataFrame, comparisons: pd.DataFrame, baseline: str, baseline_seconds: pd.Series
) -> list[dict[str, str]]:
    """The answer in three boxes: smallest without measured loss, fastest, and what got worse.

    Recipes are not timed in turns, so that a machine's mood is in their times: one counts as faster only if its median clip took
    less than every clip of the baseline.

    Args:
        table: A row per recipe.
        comparisons: Verdicts.
        baseline: Full precision.
        baseline_seconds: Of each of its clips, those of its other seed too.
    """
    rest = table[(table["recipe"] != baseline) & table["recipe"].isin(comparisons["recipe"])]
    if rest.empty:
        return []
    worse = set(comparisons.loc[comparisons["verdict"] == WORSE, "recipe"])
    unclear = set(comparisons.loc[comparisons["verdict"] == UNCLEAR, "recipe"])
    kept = rest[~rest["recipe"].isin(worse) & rest["size_ratio"].notna()].sort_values("size_ratio")
    boxes = []
    if len(kept):
        row = kept.iloc[0]
        hedge = (
            "Some of its differences are unclear."
            if row["recipe"] in unclear
            else "All of its differences lie within noise or better."
        )
        size = f"{row['size_bytes'] / 1e6:.1f} MB, {row['size_ratio']:.2f} of full precision. "
        boxes.append(
            {"question": "Smallest recipe that measures no worse", "answer": row["recipe"], "detail": size + hedge}
        )
    else:
        boxes.append(
            {
                "question": "Smallest recipe that measures no worse",
                "answer": "none",
                "detail": "Each recipe is worse on some measure.",
            }
        )
    timed = rest[rest["speedup"].notna() & (rest["compute"] != "simulated")].sort_values("speedup", ascending=False)
    if len(timed):
        row = timed.iloc[0]
        gain = f"{row['speedup']:.2f}{TIMES} the speed of full precision ({row['seconds_per_clip']:.3g} s a clip)."
        is_faster = row["seconds_per_clip"] < baseline_seconds.min()
        own = f"Clips of {baseline} took {baseline_seconds.min():.3g} to {baseline_seconds.max():.3g} s."
        boxes.append(
            {
                "question": "Fastest recipe",
                "answer": row["recipe"] if is_faster else "none is faster",
                "detail": gain if is_faster else f"The best is {row['recipe']}: {gain} {own}",
            }
        )
    names = [recipe for recipe in rest["recipe"] if recipe in worse]
    boxes.append(
        {
            "question": "Worse than full precision",
            "answer": f"{len(names)} of {len(rest)}",
            "detail": ", ".join(names) or "No recipe is.",
        }
    )
    return boxes


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
                "interval": f"{low} to {high}",
                "floor": format_number(row["noise_floor"], decimals),
                "floor_key": "" if pd.isna(row["noise_floor"]) else row["noise_floor"],
                "verdict": row["verdict"],
                "sign": SIGNS[row["verdict"]],
                "n_pairs": row["n_pairs"],
            }
        )
    return rows


def comparison_note(
    metrics: Mapping[str, MetricInfo], floors: Mapping[str, Estimate], baseline: str, seed: int | None, percent: str
) -> str:
    """How the differences are made and what the band means."""
    text = f"Each recipe minus {baseline}, clip by clip with the same prompt and noise, with its {percent} interval."
    distances = [info.label for info in metrics.values() if info.target == "baseline"]
    if distances:
        text += f" For {', '.join(distances)}: the distance to {baseline}'s own clip."
    if floors:
        text += f" The shaded band is the noise floor: how far {baseline} with seed {seed} lies from {baseline} itself."
    return text


def with_distances(
    examples: Sequence[Example], scores: pd.DataFrame, metrics: Mapping[str, MetricInfo], seed: int
) -> list[Example]:
    """The examples with each clip's own distance to the baseline's clip as a note, by the first such measure."""
    metric = next((name for name, info in metrics.items() if info.target == "baseline"), None)
    if metric is None:
        return list(examples)
    own = scores[(scores["metric"] == metric) & (scores["seed"] == seed)].set_index(["recipe", "clip_id"])["value"]
    info = metrics[metric]

    def noted(clip: Clip, clip_id: str) -> Clip:
        value = own.get((clip.name, clip_id))
        known = value is not None and pd.notna(value) and not clip.note
        return replace(clip, note=f"{info.label} {value:.2f} {info.unit}") if known else clip

    return [replace(e, clips=tuple(noted(clip, e.clip_id) for clip in e.clips)) for e in examples]
