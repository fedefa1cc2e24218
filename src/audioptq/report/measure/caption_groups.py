"""The CLAP score by kind of caption: where speech and sequences of events, which models find hard, are left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audioptq.report.formats import DASH, format_number
from audioptq.score.table import MetricInfo

CONNECTORS = ("and", "followed", "while", "as", "then", "with", "later", "before", "after")
SPEECH = ("speech", "male", "female", "woman", "man", "speaking", "speaks")


def caption_groups(captions: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Which captions belong to each group of Evans et al. 2024 (arXiv 2407.14358, table 5).

    A word counts wherever its letters stand, within longer words too, and capitals differ: that is how the published
    counts come out on AudioCaps' 4,875 test captions, 2,765 without speech, 711 without connectors, 587 without either.
    """
    speech, connected = (
        np.array([any(word in caption for word in words) for caption in captions], dtype=bool)
        for words in (SPEECH, CONNECTORS)
    )
    return {
        "all": np.ones(len(captions), dtype=bool),
        "no speech": ~speech,
        "no connectors": ~connected,
        "neither": ~speech & ~connected,
    }


def caption_group_tables(
    prompts: pd.DataFrame, scores: pd.DataFrame, metrics: Mapping[str, MetricInfo], recipes: Sequence[str]
) -> list[dict[str, Any]]:
    """One table per CLAP metric: a row per recipe, a column per group, each with its mean and number of clips.

    Args:
        prompts: With `clip_id` and `caption`.
        scores: Score rows without the noise floor's.
        metrics: Metrics of the run.
        recipes: In the order of the rows.
    """
    masks = caption_groups(prompts["caption"].tolist())
    members = {name: set(prompts.loc[mask, "clip_id"]) for name, mask in masks.items()}
    tables = []
    for metric, info in metrics.items():
        if info.module != "clap":
            continue
        own = scores[(scores["metric"] == metric) & scores["value"].notna()]
        rows = []
        for recipe in recipes:
            scored = own[own["recipe"] == recipe]
            rows.append([recipe, *(_cell(scored[scored["clip_id"].isin(ids)]["value"]) for ids in members.values())])
        headings = ["Recipe", *(f"{name} ({len(ids)} captions)" for name, ids in members.items())]
        tables.append({"label": info.label, "headings": headings, "rows": rows})
    return tables


def _cell(values: pd.Series) -> str:
    return f"{format_number(values.mean(), 4)} (n = {len(values)})" if len(values) else DASH
