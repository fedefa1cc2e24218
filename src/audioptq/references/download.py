"""One clip from the web: yt-dlp in a process of its own, under a time limit, and what its failure means."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from audioptq.errors import UserError
from audioptq.references import worker
from audioptq.references.failures import FetchFailure, classify, matching
from audioptq.references.source import AudioSource
from audioptq.references.wanted import Wanted

# Read beyond the clip's end, so that a codec's frames and the resampler reach its last sample; cut to the sample after.
MARGIN_SECONDS = 0.5
MEDIA_ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".mp4", ".webm")
STALL_SECONDS = 30


def download_section(wanted: Wanted, source: AudioSource, folder: str | Path) -> tuple[Path, dict[str, Any]]:
    """Fetches one clip as FLAC, at most `source.duration` long.

    Args:
        wanted: The clip.
        source: Length, sample rate, channels, cookies, time limit.
        folder: An empty folder for it.

    Returns:
        The file, and the report: `video_seconds` (None where the page does not tell), and `said`, what ffmpeg complained of.

    Raises:
        FetchFailure: If it cannot be had.
        UserError: If the cookies cannot be read or the disk is full.
    """
    order = {
        "url": wanted.url,
        "extractors": _extractors(wanted.url),
        "start_seconds": wanted.start_seconds,
        "read_seconds": source.duration + MARGIN_SECONDS,
        "n_samples": round(source.duration * source.sample_rate),
        "sample_rate": source.sample_rate,
        "channels": source.channels,
        "stall_seconds": int(min(STALL_SECONDS, source.timeout)),
        "cookies": str(Path(source.cookies).resolve()) if source.cookies else None,
        "stem": str(Path(folder).resolve() / "audio"),
        "cache": str(Path(folder).resolve().parent / "cache"),
    }
    output, said = _run_worker(order, source.timeout)
    try:
        report = json.loads(output)
    except ValueError:
        raise FetchFailure("unknown", f"yt-dlp ended without a report. {said[-200:]}") from None
    report["said"] = said.replace(wanted.url, "")
    _raise_failure(report, wanted)
    files = sorted(Path(folder).glob("audio.*"))
    if not files or not files[0].stat().st_size:
        raise FetchFailure(matching(report["said"]) or "unknown", f"nothing was downloaded. {said[-200:]}")
    return files[0], report


def _extractors(url: str) -> list[str]:
    """The sites that yt-dlp may take the address for: matching one against all that it knows takes two seconds of processor."""
    parts = urlsplit(url)
    if parts.hostname in ("www.youtube.com", "youtube.com", "youtu.be"):
        return ["youtube"]
    return ["generic"] if parts.path.lower().endswith(MEDIA_ENDINGS) else ["default"]


def _run_worker(order: dict[str, Any], timeout: float) -> tuple[str, str]:
    command = [sys.executable, "-I", str(Path(worker.__file__))]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    try:
        return process.communicate(json.dumps(order), timeout)
    except subprocess.TimeoutExpired:
        raise FetchFailure("timeout", f"no clip after {timeout:g} seconds") from None
    finally:
        if process.poll() is None:  # also on Ctrl-C, which does not reach a session of its own; ffmpeg is in its group
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _raise_failure(report: dict[str, Any], wanted: Wanted) -> None:
    error = report["error"]
    if report["live"]:
        raise FetchFailure("live", "a live stream has no clips")
    if error is None:
        if report["video_seconds"] and report["video_seconds"] <= wanted.start_seconds:
            raise FetchFailure(
                "too_short",
                f"the video has {report['video_seconds']:g} s, the clip begins at {wanted.start_seconds:g} s",
            )
        return
    if "CookieLoadError" in error["types"]:
        raise UserError(
            f"The cookies cannot be read: {error['message']}. Export them again, in Netscape's format, and set "
            "datasets.<name>.audio.cookies to the file."
        )
    message = error["message"].replace("ERROR: ", "")
    text = f"{message.replace(wanted.url, '')}\n{report['said']}"
    reason = classify(text, error["status"], error["types"])
    if reason == "disk_full":
        raise UserError(
            "The disk is full: a reference clip could not be written. Free some space, or set `results` in the config to a folder "
            "on a larger disk, and run again; what is finished is kept."
        )
    complaint = report["said"].strip().splitlines()
    raise FetchFailure(reason, f"{message}. {complaint[-1] if complaint else ''}", _seconds(error["retry_after"]))


def _seconds(retry_after: str | None) -> float | None:
    # The header may also be a date; then the usual wait applies.
    return float(retry_after) if retry_after and retry_after.isdecimal() else None
