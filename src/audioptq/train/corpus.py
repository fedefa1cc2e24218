"""The training corpus: synthesised scenes as log-mel frames with their captions, in shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audioptq.audio.log_mel import LogMel
from audioptq.console import progress
from audioptq.files.artifacts import read_parquet, read_tensors, write_parquet, write_tensors
from audioptq.soundscapes import SAMPLE_RATE_HZ, draw_scene, render
from audioptq.train.mini_config import CLIP_SAMPLES, MAX_SECONDS

CLIP_SECONDS = CLIP_SAMPLES / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Corpus:
    """Clips of one split, row by row.

    Attributes:
        log_mel: float16 `[clips, frames, n_mels]`.
        scenes: `caption`, `kind`, `labels`, `seconds_start`, `seconds_total` of each clip.
    """

    log_mel: Tensor
    scenes: pd.DataFrame

    @classmethod
    def load(cls, paths: Sequence[str | Path]) -> "Corpus":
        """Joins shards (`x.safetensors` with `x.parquet` beside it)."""
        log_mel = torch.cat([read_tensors(path)[0]["log_mel"] for path in paths])
        scenes = pd.concat([read_parquet(Path(path).with_suffix(".parquet"))[0] for path in paths], ignore_index=True)
        return cls(log_mel, scenes)


def draw_timing(generator: np.random.Generator) -> tuple[float, float]:
    """Draws (seconds_start, seconds_total), so that the timing conditioning means something.

    70 % fill the clip exactly; 15 % end early, the rest of the clip being silent; 15 % are crops of a longer sound.
    """
    choice = generator.random()
    if choice < 0.7:
        return 0.0, CLIP_SECONDS
    if choice < 0.85:
        return 0.0, float(np.round(generator.uniform(1.5, CLIP_SECONDS), 3))
    total = float(np.round(generator.uniform(CLIP_SECONDS, MAX_SECONDS), 3))
    return float(np.round(generator.uniform(0, total - CLIP_SECONDS), 3)), total


def crop(audio: np.ndarray, seconds_start: float) -> np.ndarray:
    """`CLIP_SAMPLES` samples from `seconds_start` on, padded with silence."""
    piece = audio[round(seconds_start * SAMPLE_RATE_HZ) :][:CLIP_SAMPLES]
    return np.pad(piece, (0, CLIP_SAMPLES - len(piece)))


def synthesise_shard(path: str | Path, *, split: str, first: int, n_clips: int, seed: int) -> None:
    """Writes clips `first` to `first + n_clips` of a split; any shard can be made anew by itself, always the same."""
    path = Path(path)
    analyse = LogMel(SAMPLE_RATE_HZ)
    rows, frames = [], []
    for index in progress(range(first, first + n_clips), f"synthesise {path.stem}", unit="clip"):
        start, total = draw_timing(np.random.default_rng([seed, index]))
        scene = draw_scene(index, split=split, seed=seed, seconds_total=total)
        audio = torch.from_numpy(crop(render(scene), start)).float()
        frames.append(analyse(audio.unsqueeze(0))[0].half())
        rows.append((scene.caption, scene.kind, "|".join(scene.labels), start, total))
    scenes = pd.DataFrame(rows, columns=["caption", "kind", "labels", "seconds_start", "seconds_total"])
    metadata = {"split": split, "first": first, "n_clips": n_clips, "seed": seed}
    write_parquet(path.with_suffix(".parquet"), scenes, metadata)
    write_tensors(path, {"log_mel": torch.stack(frames)}, metadata)
