"""Fetches the reference clips of a data set, one after the other; what is there is kept, what is gone is not asked for again."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import Random
from tempfile import mkdtemp

from audioptq.console import progress
from audioptq.errors import UserError
from audioptq.files.artifacts import atomic_path, file_digest
from audioptq.references.check import check_clip
from audioptq.references.download import download_section
from audioptq.references.failures import FetchFailure
from audioptq.references.record import Record, load_record, save_record
from audioptq.references.source import AudioSource, check_ready
from audioptq.references.wanted import Wanted

LONGEST_WAIT_SECONDS = 600.0
ADVICE = {
    "bot_check": "The site takes this machine for a robot: export a signed-in browser's cookies to a file, set "
    "datasets.<name>.audio.cookies to it",
    "rate_limited": "The site has had too many requests: wait an hour, raise datasets.<name>.audio.rate_limit",
}
OTHER_ADVICE = (
    "Check the network, and whether yt-dlp is up to date (`pip install --upgrade yt-dlp`) and has the JavaScript runtime that "
    "YouTube needs (docs/datasets.md)"
)


class Fetcher:
    """Downloads clips at a limited rate, with second attempts.

    Args:
        source: What is fetched, and how gently.
        folder: For clips and their records; created.
        sleep: Waits a number of seconds.
        clock: Seconds, for the rate.
    """

    def __init__(
        self,
        source: AudioSource,
        folder: str | Path,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source, self.folder = source, Path(folder)
        self.partial = self.folder / ".partial"
        self._sleep, self._clock, self._random = sleep, clock, Random()
        self._next_start = clock()

    def fetch(self, wanted: Wanted, record: Record) -> Record:
        """Downloads one clip, again after passing failures, and keeps the outcome on disk."""
        for attempt in range(self.source.retries + 1):
            record, retry_after = self._attempt(wanted, record)
            save_record(record, self.folder)
            # A check for robots is not passed by knocking again.
            if record.present or record.lasting or record.status == "bot_check":
                break
            if attempt < self.source.retries:
                usual = self.source.backoff * 2**attempt * self._random.uniform(0.5, 1.5)
                self._sleep(min(max(usual, retry_after), LONGEST_WAIT_SECONDS))
        return record

    def _attempt(self, wanted: Wanted, record: Record) -> tuple[Record, float]:
        """The outcome, and the seconds that the server asks to wait."""
        self._sleep(max(0.0, self._next_start - self._clock()))
        self._next_start = self._clock() + self.source.rate_limit
        record = replace(
            record,
            attempts=record.attempts + 1,
            time=_now(),
            yt_dlp=version("yt-dlp"),
            message="",
            sha256="",
            seconds=0.0,
        )
        self.partial.mkdir(parents=True, exist_ok=True)
        place = Path(mkdtemp(dir=self.partial))
        try:
            file, report = download_section(wanted, self.source, place)
            seconds, status = check_clip(file, wanted, self.source, report)
            path = self.folder / record.file_name
            with atomic_path(path) as temporary:
                file.replace(temporary)
            return replace(record, status=status, sha256=file_digest(path), seconds=seconds), 0.0
        except FetchFailure as failure:
            return replace(record, status=failure.reason, message=failure.message), failure.retry_after or 0.0
        finally:
            shutil.rmtree(place, ignore_errors=True)


def collect_references(
    wanted: Sequence[Wanted],
    source: AudioSource,
    folder: str | Path,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[Record]:
    """Fetches every clip that is not there yet.

    Args:
        wanted: The clips.
        source: Where from, and how gently.
        folder: For clips and their records.
        sleep: Waits a number of seconds.
        clock: Seconds, for the rate.

    Returns:
        A record per clip, in order.

    Raises:
        UserError: If a tool is missing, or too many clips in a row fail for passing reasons; what is finished is kept.
    """
    check_ready(source)
    fetcher = Fetcher(source, folder, sleep, clock)
    shutil.rmtree(fetcher.partial, ignore_errors=True)
    blanks = [Record(clip.reference_id, clip.url, clip.start_seconds, clip.fingerprint(source)) for clip in wanted]
    records = {blank.reference_id: load_record(blank, folder) for blank in progress(blanks, "check clips", unit="clip")}
    todo = [clip for clip in wanted if _is_open(records[clip.reference_id], source)]
    # What failed before comes last: a few stubborn clips must not keep the run from the others.
    todo.sort(key=lambda clip: records[clip.reference_id].attempts)
    failed_in_a_row = 0
    for clip in progress(todo, "download references", total=len(wanted), unit="clip", initial=len(wanted) - len(todo)):
        record = fetcher.fetch(clip, records[clip.reference_id])
        records[clip.reference_id] = record
        failed_in_a_row = 0 if record.present or record.lasting else failed_in_a_row + 1
        if failed_in_a_row == source.stop_after:
            raise _stopped(record, failed_in_a_row, list(records.values()))
    shutil.rmtree(fetcher.partial, ignore_errors=True)
    return [records[clip.reference_id] for clip in wanted]


def _is_open(record: Record, source: AudioSource) -> bool:
    return not record.present and (source.retry_missing or not record.lasting)


def _stopped(record: Record, n: int, records: Sequence[Record]) -> UserError:
    return UserError(
        f"The download of reference audio stopped: {n} clips in a row failed, the last ({record.reference_id!r}) with "
        f"{record.status}: {record.message}. {ADVICE.get(record.status, OTHER_ADVICE)}, and run again; the "
        f"{sum(r.present for r in records)} clips of {len(records)} that are there are kept. To go on without the rest, set "
        "datasets.<name>.audio.stop_after to null, or drop `audio`: generation does not need it."
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
