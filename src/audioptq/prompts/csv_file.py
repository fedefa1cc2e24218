"""Prompts from a CSV file of captions, such as the published AudioCaps test set."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from audioptq.audio.clips import clip_file_name
from audioptq.errors import UserError, did_you_mean
from audioptq.files.artifacts import file_digest
from audioptq.prompts.table import validate

# What libsndfile decodes; where an id has several files, the first of these is taken.
AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")


def csv_prompts(
    path: str | Path,
    columns: Mapping[str, str],
    seconds_total: float,
    reference_dir: str | Path | None = None,
    sha256: str | None = None,
) -> pd.DataFrame:
    """Reads captions as they are written: commas, quotes, non-ASCII letters and repeats survive.

    Args:
        path: A CSV file, UTF-8, with a header.
        columns: Names in the file of `clip_id`, `caption` and `reference_id` (clips whose captions share one reference share
            it; may be absent, then every clip is its own).
        seconds_total: Length to generate, seconds.
        reference_dir: Folder of reference audio named `{reference_id}` with one of `AUDIO_ENDINGS`, or as the rule
            `references` names it; absent files leave a null path.
        sha256: Digest that the file must have.

    Raises:
        UserError: If the file or a column is missing, the file is another one, the folder holds no reference at all, or the
            rows are not valid prompts.
    """
    table = read_table(path, columns, sha256)
    reference_id = table[columns.get("reference_id", columns["clip_id"])]
    prompts = pd.DataFrame(
        {
            "clip_id": table[columns["clip_id"]],
            "caption": table[columns["caption"]],
            "reference_id": reference_id,
            "reference_path": _find_references(reference_dir, reference_id),
            "seconds_total": float(seconds_total),
            "kind": None,
            "labels": None,
        }
    )
    return validate(prompts, f"The prompt file {path}")


def read_table(path: str | Path, columns: Mapping[str, str], sha256: str | None = None) -> pd.DataFrame:
    """Every column of the file as text, in the order of its rows.

    Raises:
        UserError: If the file cannot be read, is not the one that `sha256` names, or lacks one of `columns`.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"The prompt file {path} cannot be read: {error}. Set datasets.<name>.path to a UTF-8 CSV file with a header."
        ) from error
    if sha256 is not None and (found := file_digest(path)) != sha256.lower():
        raise UserError(
            f"The prompt file {path} is not the one that the config pins: its SHA-256 is {found}, and datasets.<name>.sha256 is "
            f"{sha256}. Fetch the published file again, or, if this one is meant, set datasets.<name>.sha256 to its digest."
        )
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the surplus for row names and shifts every column
        raise UserError(
            f"The prompt file {path} has more values in a row than names in its header: put captions with commas in double quotes."
        )
    for role, name in columns.items():
        require_column(table, name, path, role, f"columns.{role}")
    return table


def require_column(table: pd.DataFrame, name: str, path: str | Path, role: str, key: str) -> None:
    """Checks that the file has a column.

    Args:
        table: The file's rows.
        name: Of the column.
        path: Of the file, for the error.
        role: What the config uses the column for.
        key: Where the config names it, below `datasets.<name>`.

    Raises:
        UserError: If there is none of that name; the nearest is suggested.
    """
    if name not in table.columns:
        hint = did_you_mean(name, table.columns)
        raise UserError(
            f"The prompt file {path} has no column {name!r}, which the config names for {role}; it has "
            f"{', '.join(table.columns)}.{hint} Mend datasets.<name>.{key}."
        )


def _find_references(folder: str | Path | None, reference_ids: pd.Series) -> list[str | None]:
    if folder is None:
        return [None] * len(reference_ids)
    try:
        # An id is a stranger's text: only names that the folder lists are ever opened, so it can lead nowhere else.
        names = {name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name))}
    except OSError as error:
        raise UserError(
            f"The folder of reference audio {folder} cannot be read: {error.strerror}. Set datasets.<name>.reference_dir to a "
            "folder, or to null if there is no reference audio."
        ) from error
    paths = {reference_id: _choose(folder, names, reference_id) for reference_id in reference_ids.unique()}
    if not any(paths.values()):
        raise UserError(
            f"The folder of reference audio {folder} holds none of the {len(paths)} references ({len(names)} files are in it). "
            f"Files must be named by reference id, such as {next(iter(paths), '')!r} with the ending "
            f"{', '.join(AUDIO_ENDINGS)}. Mend datasets.<name>.reference_dir or columns.reference_id."
        )
    return [paths[reference_id] for reference_id in reference_ids]


def _choose(folder: str | Path, names: set[str], reference_id: str) -> str | None:
    for name in (*(f"{reference_id}{ending}" for ending in AUDIO_ENDINGS), clip_file_name(reference_id)):
        if name in names:
            return str(Path(folder) / name)
    return None
