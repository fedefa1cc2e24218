"""Clips, rate and failures of one recipe and seed, from the manifests of its shards and the records of its batches."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audioptq.audio.manifest import USABLE
from audioptq.files.artifacts import METADATA_KEY, digest

# Without a batch for longer than both, a set rests: nothing is predicted for it. A job takes tens of seconds to start.
PAUSE_SECONDS = 60.0
PAUSE_BATCHES = 5
# Batches behind a rate: enough to even out, few enough to follow when GPUs come or go.
N_RECENT = 32


@dataclass(frozen=True)
class ClipSet:
    """The clips of one recipe and seed.

    Attributes:
        model: Its name.
        recipe: Its name.
        seed: Of the noise; None if the recipe is quantized and nothing is generated yet.
        done: Clips of finished batches.
        total: Clips that there will be; None while there are no prompts.
        rate: Clips per second over the last batches, of all jobs together; None if nothing happens.
        failures: By kind, clips that are no sound and jobs that failed.
    """

    model: str
    recipe: str
    seed: int | None
    done: int = 0
    total: int | None = None
    rate: float | None = None
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        """Clips still to come."""
        return max((self.total or 0) - self.done, 0)

    @property
    def seconds_left(self) -> float | None:
        """At the present rate; None where nothing happens or nothing is left."""
        return self.left / self.rate if self.rate and self.left else None


def read_clip_set(folder: Path, quantized: Path, total: int | None) -> ClipSet:
    """Counts the clips of finished shards and, in the other shards, of finished batches.

    What was made by an earlier recipe of the same name is not counted, nor are damaged files: the workflow makes them anew.

    Args:
        folder: `generate/{model}/{recipe}/seed{seed}`.
        quantized: `quantize/{model}/{recipe}`.
        total: Number of prompts.
    """
    recipe = read_table(quantized / "layers.parquet")[1].get("recipe")
    current = digest(recipe) if recipe else None
    statuses: Counter[str] = Counter()
    finished = set()
    for path in folder.glob("shard-*.parquet"):
        found, metadata = read_table(path, "status")
        made_from = metadata.get("made_from")
        if found and current in (None, made_from.get("recipe") if isinstance(made_from, dict) else None):
            statuses.update(_counts(found))
            finished.add(path.stem)
    rate = None
    if total is None or statuses.total() < total:
        weights_time = _mtime(quantized / "weights.safetensors")
        batches = sorted((_mtime(path), path) for path in folder.glob("clips/[!.]*-batch-*.parquet"))
        batches = [batch for batch in batches if batch[0] >= weights_time]
        for _, path in batches:
            if path.name.partition("-batch-")[0] not in finished:
                statuses.update(_counts(read_table(path, "status")[0]))
        rate = recent_rate(batches[-N_RECENT:])
    failures = Counter({kind: count for kind, count in statuses.items() if kind not in USABLE})
    model, name, seed = folder.parts[-3:]
    return ClipSet(model, name, int(seed.removeprefix("seed")), statuses.total(), total, rate, failures)


def recent_rate(batches: Sequence[tuple[float, Path]]) -> float | None:
    """Clips per second from the times at which batches ended, back to the last pause; None if there is one now."""
    table = read_table(batches[-1][1], "seconds")[0] if batches else None
    seconds = [value for value in table["seconds"].to_pylist() if isinstance(value, float)] if table else []
    times = [ended for ended, _ in batches]
    pause = max(PAUSE_SECONDS, PAUSE_BATCHES * sum(seconds))
    if not seconds or time.time() - times[-1] > pause:
        return None
    first = max((i for i in range(1, len(times)) if times[i] - times[i - 1] > pause), default=0)
    elapsed = times[-1] - times[first]
    if elapsed <= 0:  # a single batch: its own time
        return len(seconds) / max(sum(seconds), 1e-9)
    tables = [read_table(path)[0] for _, path in batches[first + 1 :]]
    return sum(table.num_rows for table in tables if table) / elapsed


def read_table(path: Path, *columns: str) -> tuple[pa.Table | None, dict[str, Any]]:
    """Columns and metadata of a table, without pandas, which takes six times as long; nothing of one that is damaged or gone."""
    try:
        with pq.ParquetFile(path) as file:
            metadata = json.loads((file.metadata.metadata or {}).get(METADATA_KEY.encode(), b"{}"))
            table = file.read(columns=list(columns), use_threads=False)
    except (OSError, ValueError, pa.ArrowException):
        return None, {}
    has_all = set(columns) <= set(table.column_names)
    return (table if has_all else None), (metadata if isinstance(metadata, dict) else {})


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _counts(table: pa.Table | None) -> Counter[str]:
    counted = table["status"].value_counts().to_pylist() if table else []
    return Counter({str(entry["values"]): entry["counts"] for entry in counted})
