"""Which clips can be scored; the others keep a row, without a value and with the reason."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from audioptq.errors import DamagedArtifactError

SCORABLE = ("ok", "clipped")
NOT_SCORABLE = ("silent", "non_finite")


def failed_clips(manifest: pd.DataFrame, source: str = "the manifest") -> dict[str, str]:
    """Clips of a manifest without usable audio, and their status; clipped clips are usable.

    Example:
        >>> failed_clips(pd.DataFrame({"clip_id": ["a", "b"], "status": ["ok", "silent"]}))
        {'b': 'silent'}

    Raises:
        DamagedArtifactError: If a status is none of ok, clipped, silent, non_finite.
    """
    unknown = sorted(set(map(str, manifest["status"])) - {*SCORABLE, *NOT_SCORABLE})
    if unknown:
        raise DamagedArtifactError(
            f"{source} has the status {unknown[0]!r}, which is none of {', '.join((*SCORABLE, *NOT_SCORABLE))}. "
            "Delete it and run the generate stage again."
        )
    failed = manifest[manifest["status"].isin(NOT_SCORABLE)]
    return dict(zip(failed["clip_id"], failed["status"], strict=True))


def merge_notes(*reasons: tuple[str, Mapping[str, str]]) -> dict[str, str]:
    """Joins several {clip_id: reason}, each under a name; the first reason found for a clip stands.

    Example:
        >>> merge_notes(("", {"a": "silent"}), ("reference", {"a": "too short", "b": "missing"}))
        {'a': 'silent', 'b': 'reference: missing'}
    """
    notes: dict[str, str] = {}
    for name, clips in reasons:
        for clip_id, reason in clips.items():
            notes.setdefault(clip_id, f"{name}: {reason}" if name else reason)
    return notes


def damaged(source: str | Path, why: str) -> DamagedArtifactError:
    """The error for a file that does not fit the run."""
    return DamagedArtifactError(
        f"{source} does not fit this run: {why}. Delete it and run snakemake again: only what depends on it is rebuilt."
    )
