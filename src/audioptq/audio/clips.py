"""Clips on disk: losslessly compressed, peak-normalised, with the gain that undoes it and what is wrong with them."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audioptq.audio.manifest import CLIPPED, NON_FINITE, OK, SILENT
from audioptq.errors import DamagedArtifactError
from audioptq.files.artifacts import atomic_path, file_digest

SILENT_PEAK = 1e-4  # -80 dBFS
CLIPPED_SHARE = 1e-3
FORMATS = {".flac": "FLAC", ".wav": "WAV"}
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class ClipRecord:
    """What the manifest says of a clip.

    Attributes:
        path: File.
        sample_rate: Hz.
        n_samples: Per channel.
        peak: Largest magnitude before normalisation; 1 is full scale.
        gain: stored = original * gain.
        clipped_fraction: Share of samples in flat tops, in [0, 1]: neighbours at the peak itself, wherever the model put its
            ceiling. A single sample at the peak, as every period of a tone may have one, is none.
        status: `ok`, `clipped` (more than 0.1 % of the samples in flat tops), `silent` or `non_finite`.
        sha256: Of the file.
    """

    path: str
    sample_rate: int
    n_samples: int
    peak: float
    gain: float
    clipped_fraction: float
    status: str
    sha256: str


def clip_file_name(clip_id: str) -> str:
    """A file name for any id: the id where it is plain, else its safe letters and a digest (ids come from strangers)."""
    if SAFE_NAME.fullmatch(clip_id):
        return f"{clip_id}.flac"
    letters = re.sub(r"[^A-Za-z0-9]+", "-", clip_id).strip("-")[:32] or "clip"
    # No plain id has a "~", so none can be the name that another id is given.
    return f"{letters}~{sha256(clip_id.encode()).hexdigest()[:16]}.flac"


def write_clip(path: str | Path, audio: np.ndarray, sample_rate: int, bit_depth: int) -> ClipRecord:
    """Peak-normalises and writes `[channels, samples]` as FLAC, or WAV if the path ends so.

    Silent and non-finite clips are written as silence.
    """
    finite = bool(np.isfinite(audio).all())
    peak = float(np.abs(audio).max()) if finite else 0.0
    usable = finite and peak >= SILENT_PEAK
    clipped_fraction = _flat_share(audio, peak) if usable else 0.0
    gain = 1 / peak if usable else 1.0
    stored = np.clip(audio * gain, -1, 1) if usable else np.zeros_like(audio)
    status = CLIPPED if clipped_fraction > CLIPPED_SHARE else OK
    if not usable:
        status = SILENT if finite else NON_FINITE
    with atomic_path(path) as temporary:
        soundfile.write(temporary, stored.T, sample_rate, subtype=f"PCM_{bit_depth}", format=FORMATS[Path(path).suffix])
    return ClipRecord(
        str(path), sample_rate, audio.shape[-1], peak, gain, clipped_fraction, status, file_digest(path)
    )  # fmt: skip


def _flat_share(audio: np.ndarray, peak: float) -> float:
    top = (np.abs(audio) >= peak * (1 - 1e-6)) * np.sign(audio)
    pair = (top[..., 1:] == top[..., :-1]) & (top[..., 1:] != 0)
    none = np.zeros_like(pair[..., :1])
    return float((np.concatenate([pair, none], -1) | np.concatenate([none, pair], -1)).mean())


@dataclass(frozen=True)
class ListedClip:
    """A file of audio as a table lists it.

    Attributes:
        path: File.
        sha256: Of the file, as listed; None for a user's own audio, of which nothing is recorded.
        listed_in: The table.
    """

    path: str
    sha256: str | None = None
    listed_in: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "ListedClip":
        """The clip of a table's row, which may lack all but `path`."""
        found = {key: row.get(key) for key in ("sha256", "listed_in")}
        return cls(str(row["path"]), **{key: value for key, value in found.items() if isinstance(value, str)})

    def digest(self) -> str:
        """SHA-256 of the file.

        Raises:
            DamagedArtifactError: If the file is missing or is not the one that is listed.
        """
        return self._digest_of(self._content())

    def read(self) -> tuple[np.ndarray, int]:
        """Audio `[channels, samples]` float32 as stored, and its sample rate.

        Raises:
            DamagedArtifactError: If the file is missing, is not the one that is listed, or cannot be decoded to its end.
        """
        content = self._content()
        self._digest_of(content)
        try:
            audio, sample_rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:
            raise self._damaged(error) from error
        return audio.T, int(sample_rate)

    def _content(self) -> bytes:
        try:
            return Path(self.path).read_bytes()
        except OSError as error:
            raise self._damaged(error) from error

    def _digest_of(self, content: bytes) -> str:
        found = sha256(content).hexdigest()
        if self.sha256 not in (None, found):
            raise self._damaged("it is not the file that was written, as its digest shows")
        return found

    def _damaged(self, why: object) -> DamagedArtifactError:
        cure = "If it is yours, replace it with a whole copy"
        if self.listed_in is not None:
            cure = f"Delete {self.listed_in}, which lists it,"
        return DamagedArtifactError(
            f"The clip {self.path} cannot be read: {why}. {cure} and run snakemake again: only what is damaged is made anew."
        )


def read_clip(path: str | Path) -> tuple[np.ndarray, int]:
    """As `ListedClip.read`, for a file of which nothing is recorded."""
    return ListedClip(str(path)).read()
