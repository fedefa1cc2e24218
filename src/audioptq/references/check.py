"""Whether a downloaded clip is what was asked for: rate, channels, length, decoded to its end."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audioptq.audio.clips import SILENT_PEAK
from audioptq.references.failures import FetchFailure, matching
from audioptq.references.source import AudioSource
from audioptq.references.wanted import Wanted

LENGTH_TOLERANCE_SECONDS = 0.1
ROUNDING_SECONDS = 1.0  # of the lengths that pages tell
# Evaluators look at windows of about a second; less than that of a clip is no reference.
SHORTEST_SECONDS = 1.0
UNKNOWN_LENGTH = 2**63 - 1  # what libsndfile says of a file whose header tells none


def check_clip(path: str | Path, wanted: Wanted, source: AudioSource, report: Mapping[str, Any]) -> tuple[float, str]:
    """Checks a clip with ffprobe, and by decoding it with the library that the metrics read it with.

    Args:
        path: FLAC file.
        wanted: What it should be.
        source: Length, sample rate, channels.
        report: Of the download (`download_section`); tells a video that ends from a download that broke off.

    Returns:
        Its length in seconds, and `ok`, `short` (the video ended earlier) or `silent`.

    Raises:
        FetchFailure: If it cannot be decoded, has another rate or other channels, is too long, or broke off.
    """
    stream = _probe(path)
    found = (stream.get("codec_name"), int(stream.get("sample_rate", 0)), int(stream.get("channels", 0)))
    if found != ("flac", source.sample_rate, source.channels):
        raise FetchFailure(
            "not_audio", f"the clip is {found}, not FLAC of {source.sample_rate} Hz, {source.channels} channels"
        )
    try:
        n_samples, peak = _decode(path)
    except FetchFailure as failure:
        raise FetchFailure(
            matching(report["said"]) or failure.reason, f"{failure.message}. {report['said']}"
        ) from failure
    seconds = n_samples / source.sample_rate
    if seconds > source.duration + LENGTH_TOLERANCE_SECONDS:
        raise FetchFailure("unknown", f"the clip has {seconds:.2f} s instead of {source.duration:g} s")
    is_short = seconds < source.duration - LENGTH_TOLERANCE_SECONDS
    if is_short:
        _check_ended(wanted.start_seconds + seconds, report["video_seconds"], report["said"].strip())
        if seconds < min(SHORTEST_SECONDS, source.duration):
            raise FetchFailure("too_short", f"the audio ends {seconds:.2f} s after the clip's start")
    if peak < SILENT_PEAK:
        return seconds, "silent"
    return seconds, "short" if is_short else "ok"


def _check_ended(end: float, video_seconds: float | None, said: str) -> None:
    if video_seconds is not None and end < video_seconds - ROUNDING_SECONDS:
        raise FetchFailure("truncated", f"the audio breaks off at {end:.2f} s of {video_seconds:g} s")
    if said:
        raise FetchFailure(matching(said) or "truncated", f"the audio breaks off at {end:.2f} s. {said}")


def _probe(path: str | Path) -> dict[str, str]:
    command = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "a:0",
        "-show_entries",
        "stream=codec_name,sample_rate,channels",
    ]
    done = subprocess.run([*command, "-of", "json", f"file:{path}"], capture_output=True, text=True, check=False)
    streams = json.loads(done.stdout or "{}").get("streams", [])
    if done.returncode or not streams:
        raise FetchFailure("not_audio", f"ffprobe finds no audio in it. {done.stderr}")
    return dict(streams[0])


def _decode(path: str | Path) -> tuple[int, float]:
    n_samples, peak = 0, 0.0
    try:
        with soundfile.SoundFile(path) as handle:
            declared = handle.frames
            if declared == UNKNOWN_LENGTH:  # ffmpeg had nothing to write: the clip lies past the end of the video
                return 0, 0.0
            for block in handle.blocks(blocksize=1 << 16, dtype="float32"):
                n_samples += len(block)
                peak = max(peak, float(np.abs(block).max()))
    except (OSError, RuntimeError) as error:
        raise FetchFailure("not_audio", f"it cannot be decoded: {error}") from error
    if n_samples != declared:
        raise FetchFailure("truncated", f"{n_samples} of {declared} samples could be decoded")
    return n_samples, peak
