"""A small run on disk: prompts, manifests with FLAC clips, and embedding files, all seeded."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audioptq.audio.clips import write_clip
from audioptq.audio.manifest import read_manifest
from audioptq.files.artifacts import write_parquet, write_tensors
from audioptq.score.run import TARGET_FILES, score_metrics
from audioptq.score.table import metric_info

SAMPLE_RATE_HZ = 16000


@pytest.fixture
def prompts() -> pd.DataFrame:
    """Six prompts; the first two share a reference; ids and captions are as awkward as CSV files make them."""
    clip_ids = ['a,"1"', "b 2", "c'3", "ü4", "e5", "f6"]
    return pd.DataFrame(
        {
            "clip_id": clip_ids,
            "caption": [f'a "bell", rings; {index}\n' for index in range(6)],
            "reference_id": ["r0", "r0", "r1", "r2", "r3", "r4"],
        }
    )


@pytest.fixture
def make_manifest(tmp_path: Path, prompts: pd.DataFrame) -> Callable[..., pd.DataFrame]:
    """Writes a clip per prompt (`level` times seeded noise plus `error` times other noise) and reads the manifest."""

    def make(
        name: str, *, level: float = 1.0, error: float = 0.0, seed: int = 0, n_samples: int = 4800
    ) -> pd.DataFrame:
        folder = tmp_path / name
        rows = []
        for index, prompt in enumerate(prompts.itertuples()):
            draw = np.random.default_rng([seed, index]).standard_normal((2, n_samples))
            audio = level * 0.1 * (draw + error * np.random.default_rng(99).standard_normal(draw.shape))
            record = write_clip(folder / "audio" / f"{index}.flac", audio, SAMPLE_RATE_HZ, bit_depth=24)
            row = {**vars(record), "path": f"audio/{index}.flac"}
            row |= {
                "clip_id": prompt.clip_id,
                "caption": prompt.caption,
                "reference_id": prompt.reference_id,
                "seed": seed,
            }
            rows.append(row)
        for shard, part in enumerate((rows[:4], rows[4:])):
            write_parquet(folder / f"shard-{shard}.parquet", pd.DataFrame(part), {})
        return read_manifest(sorted(folder.glob("shard-*.parquet")))

    return make


@pytest.fixture
def make_embeddings(tmp_path: Path) -> Callable[..., Path]:
    """Writes an embedding file with seeded tensors for these clips, in this order of rows."""

    def make(name: str, clip_ids: Sequence[str], *, shift: float = 0.0, dim: int = 4, **metadata: object) -> Path:
        # Each clip's values follow from its id, so that the order of rows does not change them.
        draws = [np.random.default_rng(list(clip_id.encode())).standard_normal((3, dim)) for clip_id in clip_ids]
        windows = np.asarray(draws, dtype=np.float32).reshape(-1, dim) + np.float32(shift)
        first = np.asarray([draw[0] for draw in draws], dtype=np.float32) + np.float32(shift)
        tensors = {
            "logits": first,
            "audio": first,
            "text": first,
            "windows": windows,
            "window_row": np.repeat(np.arange(len(clip_ids)), 3),
        }
        path = tmp_path / f"{name}.safetensors"
        write_tensors(path, tensors, {"clip_ids": list(clip_ids), "embedder": "mini", "excluded": {}, **metadata})
        return path

    return make


@pytest.fixture(scope="session")
def score_metric() -> Callable[..., Any]:
    """`score_metric(metric, generated=, target=, ...)` scores one metric: its table and its metadata."""

    def score(metric: str, *, generated: Any = None, target: Any = None, **inputs: Any) -> Any:
        info = metric_info(metric)
        files = {"generated": generated, TARGET_FILES[info.target]: target}
        given = {name: paths for name, paths in files.items() if paths is not None}
        return score_metrics([metric], embeddings={info.embedder: given} if info.embedder else {}, **inputs)[metric]

    return score
