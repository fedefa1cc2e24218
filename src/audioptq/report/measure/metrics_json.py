"""The table's main numbers as a small JSON record, for tools that compare runs (`dvc metrics diff`)."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

ALWAYS = ("size_ratio", "seconds_per_clip")


def main_numbers(table: pd.DataFrame, metrics: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Point estimates by recipe and column; an empty cell has no entry, since JSON has no word for NaN.

    Args:
        table: One row per recipe, as `build_table` makes it.
        metrics: Columns to take beside the size ratio and the time per clip.
    """
    columns = [*metrics, *ALWAYS]
    rows = table.set_index("recipe")[columns].astype(float).to_dict("index")
    return {
        str(recipe): {name: value for name, value in row.items() if pd.notna(value)} for recipe, row in rows.items()
    }
