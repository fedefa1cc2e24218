"""Clips to listen to, side by side: small FLAC copies and spectrogram pictures as data: addresses."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from scipy.signal import resample_poly, stft

from audioptq.audio.clips import ListedClip
from audioptq.audio.manifest import OK, UNUSABLE
from audioptq.score.table import MetricInfo

SAMPLE_RATE = 16_000
MAX_SECONDS = 12.0
PICTURE_SIZE = (320, 96)
FLOOR_DB = -72.0
LOWEST_HZ = 60.0


@dataclass(frozen=True)
class Clip:
    """One clip as it is shown: data: addresses, empty where there is no audio, and a note."""

    name: str
    audio: str
    picture: str
    note: str = ""


@dataclass(frozen=True)
class Example:
    """One prompt with the clips that recipes made of it, the baseline first."""

    clip_id: str
    caption: str
    clips: tuple[Clip, ...]


def load_mono(clip: ListedClip) -> np.ndarray:
    """First `MAX_SECONDS` of a file, mixed to mono and resampled to `SAMPLE_RATE` if it is above: `[samples]`, float64.

    Raises:
        DamagedArtifactError: If the file is missing, is not the one that is listed, or is not audio.
    """
    samples, rate = clip.read()
    mono = samples[:, : int(MAX_SECONDS * rate)].mean(axis=0, dtype=np.float64)
    if rate != SAMPLE_RATE:
        shared = gcd(rate, SAMPLE_RATE)
        mono = resample_poly(mono, SAMPLE_RATE // shared, rate // shared)
    return mono


def encode_audio(samples: np.ndarray) -> bytes:
    """16-bit FLAC at `SAMPLE_RATE`; louder than full scale is clipped."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1.0, 1.0), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def spectrogram_db(samples: np.ndarray) -> np.ndarray:
    """Spectrogram in dB re full scale: `[height, width]` of `PICTURE_SIZE`, log frequency axis, lowest first."""
    width, height = PICTURE_SIZE
    window = 1024
    padded = np.pad(samples, (0, max(0, 2 * window - len(samples))))
    _, _, spectrum = stft(padded, SAMPLE_RATE, nperseg=window, noverlap=window - 256)
    power = np.abs(spectrum) ** 2
    edges = np.geomspace(LOWEST_HZ, SAMPLE_RATE / 2, height + 1) / (SAMPLE_RATE / window)
    # The mean over a band, or the nearest bin where a band is narrower than one.
    cumulative = np.vstack([np.zeros(power.shape[1]), np.cumsum(power, axis=0)])
    low = np.minimum(edges[:-1].astype(int), len(power) - 1)
    high = np.maximum(np.minimum(np.ceil(edges[1:]).astype(int), len(power)), low + 1)
    bands = (cumulative[high] - cumulative[low]) / (high - low)[:, None]
    columns = np.linspace(0, bands.shape[1] - 1, width).round().astype(int)
    return 10.0 * np.log10(np.maximum(bands[:, columns], 1e-12))


def picture(decibels: np.ndarray, top_db: float) -> bytes:
    """PNG with a palette: `top_db + FLOOR_DB` (dark) to `top_db` (bright), low frequencies at the bottom."""
    from matplotlib import colormaps
    from PIL import Image

    level = np.clip((decibels - top_db - FLOOR_DB) / -FLOOR_DB, 0.0, 1.0)
    # 32 shades are what the eye tells apart here, and make the file a third of the size.
    image = Image.fromarray((level[::-1] * 31).round().astype(np.uint8), mode="P")
    image.putpalette((colormaps["magma"](np.linspace(0, 1, 32))[:, :3] * 255).round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def build_examples(
    clip_ids: Sequence[str],
    prompts: pd.DataFrame,
    manifest: pd.DataFrame,
    recipes: Sequence[str],
    seed: int,
    max_bytes: int,
) -> tuple[list[Example], list[str]]:
    """Examples in the order of `clip_ids` while they fit into `max_bytes` of encoded text, and the clips that did not.

    The reference audio comes last; `recipes` names the baseline first. Pictures of one prompt share a
    scale, so that they can be compared.
    """
    captions = prompts.set_index("clip_id")
    own = manifest[manifest["seed"] == seed].set_index(["recipe", "clip_id"])
    examples, left_out, used = [], [], 0
    for clip_id in clip_ids:
        prompt = captions.loc[clip_id]
        clips = _clips(clip_id, own, recipes, _reference(prompt))
        size = sum(len(clip.audio) + len(clip.picture) for clip in clips)
        if used + size > max_bytes:
            left_out.append(clip_id)
            continue
        used += size
        examples.append(Example(clip_id, str(prompt["caption"]), tuple(clips)))
    return examples, left_out


def _reference(prompt: "pd.Series[Any]") -> ListedClip | None:
    if not isinstance(prompt.get("reference_path"), str):
        return None
    names = {"reference_path": "path", "reference_sha256": "sha256"}
    return ListedClip.of(prompt.rename(names).to_dict())


def _clips(clip_id: str, manifest: pd.DataFrame, recipes: Sequence[str], reference: ListedClip | None) -> list[Clip]:
    waves: dict[str, np.ndarray | None] = {}
    notes = {}
    for recipe in recipes:
        if (recipe, clip_id) not in manifest.index:
            continue
        row = manifest.loc[(recipe, clip_id)]
        waves[recipe] = None if row["status"] in UNUSABLE else load_mono(ListedClip.of(row))
        notes[recipe] = "" if row["status"] == OK else str(row["status"]).replace("_", " ")
    if reference is not None and Path(reference.path).is_file():
        waves["reference"] = load_mono(reference)
        notes["reference"] = "not generated"
    return _encode(waves, notes)


def _encode(waves: Mapping[str, np.ndarray | None], notes: Mapping[str, str]) -> list[Clip]:
    spectra = {name: spectrogram_db(wave) for name, wave in waves.items() if wave is not None}
    top = max((float(spectrum.max()) for spectrum in spectra.values()), default=0.0)
    clips = []
    for name, wave in waves.items():
        audio = "" if wave is None else data_address("audio/flac", encode_audio(wave))
        image = "" if wave is None else data_address("image/png", picture(spectra[name], top))
        clips.append(Clip(name, audio, image, notes[name]))
    return clips


def data_address(kind: str, content: bytes) -> str:
    """A `data:` address that holds `content`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def with_distances(
    examples: Sequence[Example], scores: pd.DataFrame, metrics: Mapping[str, MetricInfo], seed: int
) -> list[Example]:
    """The examples with each clip's own distance to the baseline's clip as a note, by the first measure that compares audio."""
    metric = next((name for name, info in metrics.items() if info.is_distance and info.embedder is None), None)
    if metric is None:
        return list(examples)
    own = scores[(scores["metric"] == metric) & (scores["seed"] == seed)].set_index(["recipe", "clip_id"])["value"]
    info = metrics[metric]

    def noted(clip: Clip, clip_id: str) -> Clip:
        value = own.get((clip.name, clip_id))
        known = value is not None and pd.notna(value) and not clip.note
        return replace(clip, note=f"{info.label} {value:.2f} {info.unit}") if known else clip

    return [replace(e, clips=tuple(noted(clip, e.clip_id) for clip in e.clips)) for e in examples]
