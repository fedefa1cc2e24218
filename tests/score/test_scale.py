"""The published evaluation's size: 4,875 captions, 97,500 windows of OpenL3, 881 references, 400 replicates."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audioptq.files.artifacts import write_tensors

N_REFERENCES, N_REFERENCED, N_CLIPS, N_SHARDS = 975, 881, 4875, 10
WINDOWS, DIM = 20, 1024


def write(path: Path, embedder: str, clip_ids: list[str], excluded: dict[str, str], **tensors: np.ndarray) -> None:
    write_tensors(path, tensors, {"embedder": embedder, "clip_ids": clip_ids, "excluded": excluded})


def windows_of(rng: np.random.Generator, n_clips: int, shift: float) -> dict[str, np.ndarray]:
    """Windows whose later dimensions vary less, alike within a clip."""
    row = np.repeat(np.arange(n_clips), WINDOWS)
    scale = np.arange(1, DIM + 1, dtype=np.float32) ** -0.5
    clip = rng.standard_normal((n_clips, DIM), dtype=np.float32)
    own = rng.standard_normal((len(row), DIM), dtype=np.float32)
    own += clip[row]
    own *= scale
    own += np.float32(shift)
    return {"windows": own, "window_row": row}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The files of one recipe; half a gigabyte, hence removed whatever happens."""
    rng = np.random.default_rng(0)
    ids = [f"{index:05d}" for index in range(N_CLIPS)]
    references = [f"r{index // 5}" for index in range(N_CLIPS)]
    absent = {clip_id: "no audio" for clip_id in ids[5 * N_REFERENCED :]}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        pd.DataFrame({"clip_id": ids, "reference_id": references}).to_parquet(path / "prompts.parquet")
        for side, key in (("0", "audio"), ("target", "text")):
            write(path / f"clap_laion-{side}.safetensors", "clap_laion", ids, {}, **{key: draw(rng, 512)})
            write(path / f"kl_passt-{side}.safetensors", "passt", ids, {}, logits=draw(rng, 527))
        step = N_CLIPS // N_SHARDS + 1
        for shard in range(N_SHARDS):
            own = ids[shard * step : (shard + 1) * step]
            tensors = windows_of(rng, len(own), 0.1)
            write(path / f"fd_openl3-{shard}.safetensors", "openl3", own, {}, **tensors)
        first = ids[: 5 * N_REFERENCED : 5]
        others = {
            clip_id: "the reference of another clip" for clip_id in ids[: 5 * N_REFERENCED] if clip_id not in first
        }
        tensors = windows_of(rng, len(first), 0.0)
        write(path / "fd_openl3-target.safetensors", "openl3", first, {**others, **absent}, **tensors)
        yield path


def draw(rng: np.random.Generator, dim: int) -> np.ndarray:
    return rng.standard_normal((N_CLIPS, dim), dtype=np.float32)


@pytest.mark.slow
def test_a_recipe_of_the_published_size_is_scored_in_little_memory(folder: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("scale_run.py")), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    total = sum(found["seconds"].values())
    print(f"{total:.1f} s, peak {found['peak_bytes'] / 2**30:.2f} GiB, yardstick {found['yardstick']:.1f} s: {found}")
    assert found["n_scored"] == dict.fromkeys(found["seconds"], N_CLIPS)
    assert found["fd"]["n_windows"] == N_CLIPS * WINDOWS
    assert found["fd"]["n_references"] == N_REFERENCED
    assert found["fd"]["bootstrap"] == "linearised"
    # In float64 the windows alone would take 0.8 GB a copy.
    assert found["peak_bytes"] < 2 * 2**30
    # The yardstick is one pass of products over the windows. Scoring needs about three: two covariances, one transport, each
    # with its references, three decompositions, and the files. 400 refits would take more than a hundred.
    assert total < 12 * found["yardstick"]
