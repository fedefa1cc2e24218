"""Which reference clips a data set needs: one for every reference, however many captions share it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from audioptq.errors import UserError
from audioptq.files.artifacts import digest
from audioptq.prompts.csv_file import require_column
from audioptq.prompts.dataset import csv_rows
from audioptq.references.source import AudioSource


@dataclass(frozen=True)
class Wanted:
    """A clip to fetch.

    Attributes:
        reference_id: Its name; a stranger's text.
        url: Page or file.
        start_seconds: Where in it the clip begins.
    """

    reference_id: str
    url: str
    start_seconds: float

    def fingerprint(self, source: AudioSource) -> str:
        """Digest of all that decides what the stored clip holds."""
        shape = [float(source.duration), source.sample_rate, source.channels]
        return digest([self.reference_id, self.url, self.start_seconds, *shape])


def wanted_references(dataset: Mapping[str, Any], source: AudioSource) -> list[Wanted]:
    """The clips that the evaluation prompts of a data set compare with, in the order of their first captions.

    Args:
        dataset: An entry of kind `csv` of the config's `datasets`.
        source: Its `audio`.

    Raises:
        UserError: If a column is missing, a start is no time, or the captions of one reference disagree about its clip.
    """
    rows = csv_rows(dataset)
    for name in source.columns:
        require_column(rows, name, dataset["path"], "reference audio", "audio")
    columns = dataset["columns"]
    id_column = columns.get("reference_id", columns["clip_id"])
    clips: dict[str, Wanted] = {}
    for row in rows.to_dict("records"):
        clip = Wanted(row[id_column], source.address(row), _start(row, source, dataset["path"]))
        if clips.setdefault(clip.reference_id, clip) != clip:
            other = clips[clip.reference_id]
            raise UserError(
                f"In {dataset['path']} the reference {clip.reference_id!r} is two clips, {other.url} from {other.start_seconds:g} s "
                f"and {clip.url} from {clip.start_seconds:g} s. Name a column as datasets.<name>.columns.reference_id that "
                "differs between clips, or leave it out, so that every row has its own."
            )
    return list(clips.values())


def _start(row: Mapping[str, str], source: AudioSource, path: object) -> float:
    if not isinstance(source.start, str):
        return float(source.start)
    seconds = pd.to_numeric(row[source.start], errors="coerce")
    if not math.isfinite(seconds) or seconds < 0:
        raise UserError(
            f"In {path} the column {source.start} has {row[source.start]!r}, and datasets.<name>.audio.start takes clips' starts "
            "from there: they must be seconds, from zero."
        )
    return float(seconds)
