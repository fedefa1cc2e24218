"""Where reference audio comes from and how gently it is asked for: the entry `audio` of a data set."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Formatter
from typing import Any
from urllib.parse import quote, urlsplit

from audioptq.errors import UserError

TOOLS = ("ffmpeg", "ffprobe")


@dataclass(frozen=True)
class AudioSource:
    """What is fetched for each reference, and the manners of the one who fetches.

    Attributes:
        url: Address of a reference's page or file; `{column}` stands for the row's value in that column, quoted, and may occur
            after the host only.
        start: Where the clip begins, seconds: a number, or the name of the column that has it.
        duration: Length of a clip, seconds.
        sample_rate: Of the stored clips, Hz.
        channels: Of the stored clips; mono is copied to both.
        rate_limit: Seconds from the start of one download to the start of the next, at least.
        retries: How often a clip is tried again within a run after a passing failure.
        backoff: Wait before the first of these, seconds; it doubles each time, give or take half, up to ten minutes.
        timeout: Seconds after which a download is given up.
        stop_after: Clips in a row that fail for passing reasons before the run stops; None goes on to the last.
        retry_missing: Whether clips that are known to be gone are asked for again.
        cookies: File of cookies in Netscape's format; yt-dlp keeps it up to date.
    """

    url: str
    start: str | float = 0.0
    duration: float = 10.0
    sample_rate: int = 44100
    channels: int = 2
    rate_limit: float = 2.0
    retries: int = 3
    backoff: float = 5.0
    timeout: float = 300.0
    stop_after: int | None = 5
    retry_missing: bool = False
    cookies: str | None = None

    def __post_init__(self) -> None:
        """Refuses addresses in which a row could choose the host.

        Raises:
            UserError: If `url` is none of the web, or has a placeholder where none may be, or one that is no column's name.
        """
        try:
            fields = [
                (name, spec, conversion)
                for _, name, spec, conversion in Formatter().parse(self.url)
                if name is not None
            ]
            parts = urlsplit(self.url)
        except ValueError as error:
            raise self._bad_url(str(error)) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self._bad_url("it must begin with https:// or http:// and a host")
        if "{" in parts.netloc:
            raise self._bad_url("a column's value may not choose the host")
        for name, spec, conversion in fields:
            if spec or conversion or not name.isidentifier():
                raise self._bad_url(f"{{{name}}} is not the plain name of a column")

    def _bad_url(self, why: str) -> UserError:
        return UserError(
            f"datasets.<name>.audio.url is {self.url!r}, which cannot be used: {why}. Write it as "
            "https://www.youtube.com/watch?v={youtube_id}, with names of the CSV file's columns in braces."
        )

    @classmethod
    def from_config(cls, entry: Mapping[str, Any]) -> "AudioSource":
        """Builds the source from its config entry, whose keys are the attributes."""
        return cls(**entry)

    @property
    def columns(self) -> list[str]:
        """Columns of the CSV file that the address and the start need."""
        names = [name for _, name, _, _ in Formatter().parse(self.url) if name]
        return [*dict.fromkeys(names), *([self.start] if isinstance(self.start, str) else [])]

    def address(self, row: Mapping[str, str]) -> str:
        """The address of a row; values are quoted, so that none can be more than a part of a path or query."""
        return self.url.format_map({name: quote(value, safe="") for name, value in row.items()})


def check_ready(source: AudioSource) -> None:
    """Checks that everything a download needs is installed and there.

    Raises:
        UserError: If ffmpeg, ffprobe, yt-dlp or the cookies' file is missing.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise UserError(
            f"{' and '.join(missing)} cannot be found, and reference audio is cut out with it. Install it (`apt-get install "
            "ffmpeg`, or from ffmpeg.org) and run again, or drop `audio` from the data set: generation does not need it."
        )
    if find_spec("yt_dlp") is None:
        raise UserError("yt-dlp is not installed, and reference audio is downloaded with it: `pip install yt-dlp`.")
    if source.cookies is not None and not Path(source.cookies).is_file():
        raise UserError(
            f"There is no file of cookies {source.cookies}. Export the browser's cookies to a text file in Netscape's format and "
            "set datasets.<name>.audio.cookies to it, or to null."
        )
