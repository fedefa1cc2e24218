"""What cannot be scored: a clip keeps a row, without a value and with the reason; a file of another run is an error."""

from collections.abc import Mapping
from pathlib import Path

from audioptq import errors


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


def damaged(source: str | Path, why: str) -> errors.DamagedArtifactError:
    """The error for a file that does not fit the run."""
    cure = "Delete it and run snakemake again: only what depends on it is rebuilt."
    return errors.damaged(source, f"it does not fit this run: {why}", cure)
