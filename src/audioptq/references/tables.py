"""The manifest of reference clips, and the table of those that are missing."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from audioptq.references.record import Record
from audioptq.references.source import AudioSource

MISSING_COLUMNS = ["reference_id", "url", "start", "class", "lasting", "message", "yt_dlp", "time", "attempts"]


def manifest_table(records: Sequence[Record], source: AudioSource, folder: str) -> pd.DataFrame:
    """A row per clip that is there; `path` is relative to the folder of the manifest.

    Args:
        records: Outcomes.
        source: For sample rate and channels, which every clip was checked for.
        folder: Name of the clips' folder, beside the manifest.
    """
    rows = [
        {
            "reference_id": record.reference_id,
            "path": f"{folder}/{record.file_name}",
            "sha256": record.sha256,
            "seconds": record.seconds,
            "sample_rate": source.sample_rate,
            "channels": source.channels,
            "status": record.status,
        }
        for record in records
        if record.present
    ]
    columns = ["reference_id", "path", "sha256", "seconds", "sample_rate", "channels", "status"]
    return pd.DataFrame(rows, columns=columns)


def missing_text(records: Sequence[Record]) -> str:
    """Tab-separated text: a row per clip that is not there, with the reason."""
    rows = [
        (
            record.reference_id,
            record.url,
            record.start_seconds,
            record.status,
            "yes" if record.lasting else "no",
            record.message,
            record.yt_dlp,
            record.time,
            record.attempts,
        )
        for record in records
        if not record.present
    ]
    return str(pd.DataFrame(rows, columns=MISSING_COLUMNS).to_csv(sep="\t", index=False, lineterminator="\n"))


def summary(records: Sequence[Record]) -> str:
    """A line of counts."""
    there = [record for record in records if record.present]
    kinds = ", ".join(f"{n} {status}" for status, n in Counter(record.status for record in there).most_common())
    text = f"{len(there)} of {len(records)} reference clips are there ({kinds or 'none'})"
    gone = Counter(record.status for record in records if not record.present)
    if gone:
        text += f"; missing: {', '.join(f'{n} {status}' for status, n in gone.most_common())}"
    passing = sum(not record.present and not record.lasting for record in records)
    if passing:
        text += f". {passing} may be had another time: snakemake --forcerun references"
    return text
