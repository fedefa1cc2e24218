"""What is known of one reference clip, kept in a file beside it: a run that is killed goes on from there."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from audioptq.audio.clips import clip_file_name
from audioptq.errors import DamagedArtifactError
from audioptq.files.artifacts import file_digest, read_json, write_json
from audioptq.references.failures import LASTING

PRESENT = ("ok", "short", "silent")


@dataclass(frozen=True)
class Record:
    """The outcome for one reference.

    Attributes:
        reference_id: Its name.
        url: Where it was looked for.
        start_seconds: Where in it the clip begins.
        fingerprint: Of what was asked for (`Wanted.fingerprint`).
        status: `ok`, `short`, `silent`, or the reason of the failure (`failures`).
        message: What was said on failure, on one line.
        sha256: Of the clip's file; empty without one.
        seconds: Length of the clip; zero without one.
        attempts: Downloads that were tried so far, over all runs.
        time: Of the last, UTC, ISO 8601.
        yt_dlp: Version that was used; empty if it did not get as far.
    """

    reference_id: str
    url: str
    start_seconds: float
    fingerprint: str
    status: str = ""
    message: str = ""
    sha256: str = ""
    seconds: float = 0.0
    attempts: int = 0
    time: str = ""
    yt_dlp: str = ""

    @property
    def file_name(self) -> str:
        """Name of the clip's file, safe whatever the id is."""
        return clip_file_name(self.reference_id)

    @property
    def present(self) -> bool:
        """Whether there is audio."""
        return self.status in PRESENT

    @property
    def lasting(self) -> bool:
        """Whether there is none and asking again will not help."""
        return self.status in LASTING


def load_record(blank: Record, folder: str | Path) -> Record:
    """What an earlier run left for the same clip, if its file is whole; else `blank`, with the number of earlier attempts.

    Args:
        blank: The clip as it is asked for now.
        folder: Of clips and records.
    """
    try:
        found: dict[str, Any] = read_json(_path(blank, folder), foreign=True)  # downloads outlive versions
        record = Record(**found)
        if record.reference_id != blank.reference_id or record.fingerprint != blank.fingerprint:
            return blank
        if record.present and file_digest(Path(folder) / record.file_name) != record.sha256:
            return replace(blank, attempts=record.attempts)
    except (DamagedArtifactError, TypeError):
        return blank
    return record


def save_record(record: Record, folder: str | Path) -> None:
    """Writes the record beside the clip."""
    write_json(_path(record, folder), asdict(record))


def _path(record: Record, folder: str | Path) -> Path:
    return (Path(folder) / record.file_name).with_suffix(".json")
