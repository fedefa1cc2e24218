"""One download, as a program: reads an order from standard input, runs yt-dlp, writes a report to standard output.

A process of its own can be ended whatever hangs in it, and what yt-dlp and ffmpeg print is kept apart. It is started by its
path with `python -I` and imports nothing of the library.
"""

import json
import sys
from typing import Any


def describe(error: BaseException) -> dict[str, Any]:
    """What went wrong: yt-dlp's message, the classes of the error and its causes, and what the server answered."""
    types: list[str] = []
    status, retry_after, seen = None, None, set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        types.append(type(cause).__name__)
        response = getattr(cause, "response", None)
        if response is not None and getattr(cause, "status", None):
            status = int(cause.status)  # type: ignore[attr-defined]
            retry_after = response.headers.get("Retry-After")
        exc_info = getattr(cause, "exc_info", None) or (None, None)
        cause = next((e for e in (exc_info[1], getattr(cause, "cause", None)) if e and id(e) not in seen), None)
    return {"types": types, "status": status, "retry_after": retry_after, "message": str(error)}


class Quiet:
    """yt-dlp's messages: none is passed on, errors come back as exceptions."""

    def debug(self, message: str) -> None:
        """Takes what would be printed."""

    info = warning = error = debug


def options(order: dict[str, Any]) -> dict[str, Any]:
    """yt-dlp's parameters: the sound of one section, decoded once from where it begins, as FLAC."""
    from yt_dlp.utils import download_range_func

    start, length = order["start_seconds"], order["read_seconds"]
    # Later options win in ffmpeg: the second -t keeps yt-dlp from cutting at the rounded length of the video, -f FLAC from
    # following the page's file type. Re-encoding to something lossy, which cutting "at keyframes" would do, is avoided.
    before = [
        "-nostats",
        "-loglevel",
        "error",
        "-rw_timeout",
        str(order["stall_seconds"] * 1_000_000),
        "-t",
        str(length),
    ]
    trim = f"aresample={order['sample_rate']},atrim=end_sample={order['n_samples']}"
    after = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-af", trim, "-ac", str(order["channels"])]
    return {
        "format": "bestaudio/best",
        "outtmpl": {"default": order["stem"] + ".%(ext)s"},
        "download_ranges": download_range_func(None, [(start, start + length)]),
        "force_keyframes_at_cuts": True,
        "external_downloader_args": {
            "ffmpeg_i": before,
            "ffmpeg_o": [*after, "-c:a", "flac", "-sample_fmt", "s32", "-f", "flac"],
        },
        "allowed_extractors": order["extractors"],
        "noplaylist": True,
        "playlist_items": "1",
        "fixup": "never",
        "nopart": True,
        "updatetime": False,
        "retries": 0,
        "extractor_retries": 0,
        "socket_timeout": order["stall_seconds"],
        "cookiefile": order["cookies"],
        "cachedir": order["cache"],
        "js_runtimes": {"deno": {}, "node": {}},
        "noprogress": True,
        "quiet": True,
        "logger": Quiet(),
    }


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Downloads the section; the report has `error` (or null), and the video's length if the page tells."""
    from yt_dlp import YoutubeDL

    report: dict[str, Any] = {"error": None, "video_seconds": None, "live": False}

    def note(info: dict[str, Any], *, incomplete: bool) -> str | None:
        report["video_seconds"], report["live"] = info.get("duration"), bool(info.get("is_live"))
        begins_after = info.get("duration") and info["duration"] <= order["start_seconds"]
        return "skipped" if report["live"] or begins_after else None

    try:
        with YoutubeDL({**options(order), "match_filter": note}) as downloader:
            downloader.extract_info(order["url"])
    except Exception as error:
        report["error"] = describe(error)
    return report


if __name__ == "__main__":
    answer, sys.stdout = sys.stdout, sys.stderr
    json.dump(run(json.load(sys.stdin)), answer)
