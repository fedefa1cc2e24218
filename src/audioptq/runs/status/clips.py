"""Clips, rate and failures of one recipe and seed, from the manifests of its shards and the records of its batches."""

import json
import os
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

    What was made by an earlier recipe of the same name is not counted. Damaged files are not either: the workflow makes
    them anew.

    Args:
        folder: `generate/{model}/{recipe}/seed{seed}`.
        quantized: `quantize/{model}/{recipe}`.
        total: Number of prompts.
    """
    recipe_config = _read(quantized / "layers.parquet")[1].get("recipe")
    current = digest(recipe_config) if recipe_config else None
    statuses: Counter[str] = Counter()
    finished = set()
    for path in folder.glob("shard-*.parquet"):
        table, metadata = _read(path, "status")
        if table and current in (None, metadata.get("made_from", {}).get("recipe")):
            statuses.update(_counts(table))
            finished.add(path.stem)
    rate = None
    if total is None or statuses.total() < total:
        weights_time = _mtime(quantized / "weights.safetensors")
        records = [record for record in _records(folder / "clips") if record[0] >= weights_time]
        for _, path in records:
            if path.name.partition("-batch-")[0] not in finished:
                statuses.update(_counts(_read(path, "status")[0]))
        rate = recent_rate(records[-N_RECENT:])
    failures = Counter({kind: count for kind, count in statuses.items() if kind not in USABLE})
    model, recipe, seed = folder.parts[-3:]
    return ClipSet(model, recipe, int(seed.removeprefix("seed")), statuses.total(), total, rate, failures)


def recent_rate(records: Sequence[tuple[float, Path]]) -> float | None:
    """Clips per second from the times at which batches ended, back to the last pause; None if there is one now."""
    table = _read(records[-1][1], "seconds")[0] if records else None
    seconds = table["seconds"].to_pylist() if table else []
    pause = max(PAUSE_SECONDS, PAUSE_BATCHES * sum(seconds))
    if not seconds or time.time() - records[-1][0] > pause:
        return None
    first = len(records) - 1
    while first > 0 and records[first][0] - records[first - 1][0] <= pause:
        first -= 1
    elapsed = records[-1][0] - records[first][0]
    if elapsed <= 0:  # a single batch: its own time
        return len(seconds) / max(sum(seconds), 1e-9)
    return sum(_n_rows(path) for _, path in records[first + 1 :]) / elapsed


def _records(folder: Path) -> list[tuple[float, Path]]:
    """Batch records in the order they were written, with the time; a folder may hold many thousands of clips beside them."""
    try:
        names = [name for name in os.listdir(folder) if "-batch-" in name and name.endswith(".parquet")]
    except OSError:
        return []
    return sorted((_mtime(folder / name), folder / name) for name in names if not name.startswith("."))


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _counts(table: pa.Table | None) -> Counter[str]:
    counted = table["status"].value_counts().to_pylist() if table else []
    return Counter({entry["values"]: entry["counts"] for entry in counted})


def _n_rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def _read(path: Path, *columns: str) -> tuple[pa.Table | None, dict[str, Any]]:
    """Columns and metadata of a table, without pandas, which takes six times as long; nothing of one that is damaged or gone."""
    try:
        with pq.ParquetFile(path) as file:
            encoded = (file.metadata.metadata or {}).get(METADATA_KEY.encode(), b"{}")
            table = file.read(columns=list(columns), use_threads=False)
            return (table if set(columns) <= set(table.column_names) else None), json.loads(encoded)
    except (OSError, ValueError, pa.ArrowException):
        return None, {}
