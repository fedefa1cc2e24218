"""Prompts from a CSV file of captions, such as the published AudioCaps test set."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import pandas as pd

from audioptq.errors import UserError
from audioptq.prompts.table import validate


def csv_prompts(
    path: str | Path, columns: Mapping[str, str], seconds_total: float, reference_dir: str | Path | None = None
) -> pd.DataFrame:
    """Reads captions as they are written: commas, quotes, non-ASCII letters and repeats survive.

    Args:
        path: A CSV file, UTF-8, with a header.
        columns: Names in the file of `clip_id`, `caption` and `reference_id` (clips whose captions share one reference share
            it; may be absent, then every clip is its own).
        seconds_total: Length to generate, seconds.
        reference_dir: Folder of reference audio named `{reference_id}.wav` or `.flac`; absent files leave a null path.

    Raises:
        UserError: If the file or a column is missing, or the rows are not valid prompts.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"The prompt file {path} cannot be read: {error}. Set datasets.<name>.path to a UTF-8 CSV file with a header."
        ) from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the surplus for row names and shifts every column
        raise UserError(
            f"The prompt file {path} has more values in a row than names in its header: put captions with commas in double quotes."
        )
    for role, name in columns.items():
        if name not in table.columns:
            near = get_close_matches(name, list(table.columns), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UserError(
                f"The prompt file {path} has no column {name!r}, which the config names for {role}; it has "
                f"{', '.join(table.columns)}.{hint} Mend datasets.<name>.columns.{role}."
            )
    clip_id = table[columns["clip_id"]]
    reference_id = table[columns["reference_id"]] if "reference_id" in columns else clip_id
    prompts = pd.DataFrame(
        {
            "clip_id": clip_id,
            "caption": table[columns["caption"]],
            "reference_id": reference_id,
            "reference_path": [_find_reference(reference_dir, name) for name in reference_id],
            "seconds_total": float(seconds_total),
            "kind": None,
            "labels": None,
        }
    )
    return validate(prompts, f"The prompt file {path}")


def _find_reference(reference_dir: str | Path | None, reference_id: str) -> str | None:
    # An id is a stranger's text: it may name a file of the folder, never a way out of it.
    if reference_dir is None or Path(reference_id).name != reference_id:
        return None
    for ending in (".wav", ".flac"):
        path = str(Path(reference_dir) / f"{reference_id}{ending}")
        if os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
            return path
    return None
