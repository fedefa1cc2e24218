"""What a metric is computed from, matched clip by clip: manifests and embedding files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audioptq.artifacts import read_tensors
from audioptq.errors import DamagedArtifactError

PROMPT_COLUMNS = ("clip_id", "reference_id")
MANIFEST_COLUMNS = ("clip_id", "status")
AUDIO_COLUMNS = (*MANIFEST_COLUMNS, "caption", "seed", "path", "sample_rate", "n_samples", "gain")


@dataclass(frozen=True)
class Embeddings:
    """One embedding file.

    Attributes:
        path: Where it was read from, for error texts.
        clip_ids: Clip of each row.
        excluded: Clips that could not be embedded, with the reason; clips with values that are not finite among them.
        tensors: `logits`, `audio`, `text`: `[clips, ...]`; `windows` `[windows, dim]` with `window_row` `[windows]`.
        metadata: The file's own.
    """

    path: str
    clip_ids: tuple[str, ...]
    excluded: dict[str, str]
    tensors: dict[str, NDArray[Any]]
    metadata: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path, names: Sequence[str]) -> "Embeddings":
        """Reads an embedding file and checks that it is whole.

        Args:
            path: The file.
            names: Tensors that the caller relies on.

        Raises:
            DamagedArtifactError: If a tensor or the clip ids are absent, a clip occurs twice, or shapes disagree.
        """
        tensors, metadata = read_tensors(path, framework="np")
        clip_ids = tuple(metadata.get("clip_ids", ()))
        if not clip_ids and not metadata.get("excluded"):
            raise damaged(path, "its metadata name no clips")
        if len(set(clip_ids)) != len(clip_ids):
            raise damaged(path, "a clip occurs twice in it")
        for name in names:
            if name not in tensors:
                raise damaged(path, f"it has no tensor {name!r} (it has {', '.join(sorted(tensors))})")
        tensors = {name: tensors[name] for name in names}
        _check_rows(path, tensors, len(clip_ids))
        excluded = {**_non_finite_clips(tensors, clip_ids), **dict(metadata.get("excluded", {}))}
        return cls(str(path), clip_ids, excluded, tensors, metadata)

    def row_of(self) -> dict[str, int]:
        """Row of each clip that can be scored."""
        return {clip_id: row for row, clip_id in enumerate(self.clip_ids) if clip_id not in self.excluded}

    def rows(self, name: str, clip_ids: Iterable[str]) -> NDArray[np.float64]:
        """Rows of tensor `name` for these clips, in this order, float64 `[clips, ...]`."""
        row_of = self.row_of()
        index = np.array([row_of[clip_id] for clip_id in clip_ids], dtype=np.int64)
        return self.tensors[name][index].astype(np.float64)


@dataclass(frozen=True)
class ScoreInputs:
    """All that a metric may need; which fields are set depends on the metric.

    Attributes:
        prompts: The prompts, one per clip: the clips, in the order of the table's rows, and their clusters.
        manifest: The recipe's clips.
        baseline: The baseline's clips (same clip ids, same seed).
        generated: Embeddings of the recipe's clips.
        target: Embeddings of the prompts' text or of the references.
        n_replicates: Bootstrap replicates of a set-level metric.
        seed: Seed of the bootstrap.
        across_seeds: Whether the baseline's clips may have another seed, as for the noise floor.
    """

    prompts: pd.DataFrame
    manifest: pd.DataFrame
    baseline: pd.DataFrame | None = None
    generated: Embeddings | None = None
    target: Embeddings | None = None
    n_replicates: int = 200
    seed: int = 0
    across_seeds: bool = False


def embedding_pair(inputs: ScoreInputs) -> tuple[Embeddings, Embeddings]:
    """The two embedding files of a metric that has them: (generated, target)."""
    if inputs.generated is None or inputs.target is None:
        raise ValueError("this metric needs `generated` and `target` embeddings")
    return inputs.generated, inputs.target


def check_clips(found: Iterable[str], expected: Iterable[str], source: str) -> None:
    """Raises DamagedArtifactError, naming `source`, unless both are the same set of clips."""
    found, expected = set(found), set(expected)
    if found == expected:
        return
    missing, foreign = sorted(expected - found), sorted(found - expected)
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(expected)} clips are missing from it (first: {missing[0]!r})")
    if foreign:
        parts.append(f"it has {len(foreign)} clips that are not among the prompts (first: {foreign[0]!r})")
    raise damaged(source, " and ".join(parts))


def damaged(source: str | Path, why: str) -> DamagedArtifactError:
    """The error for a file that does not fit the run."""
    return DamagedArtifactError(
        f"{source} does not fit this run: {why}. Delete it and run snakemake again: only what depends on it is rebuilt."
    )


def _check_rows(path: str | Path, tensors: Mapping[str, NDArray[Any]], n_clips: int) -> None:
    for name, tensor in tensors.items():
        if name == "windows":
            continue
        n_rows = len(tensors["windows"]) if name == "window_row" and "windows" in tensors else n_clips
        if tensor.ndim < 1 or len(tensor) != n_rows:
            raise damaged(path, f"its tensor {name!r} has shape {list(tensor.shape)} where {n_rows} rows belong")
    rows = tensors.get("window_row")
    if rows is not None and len(rows) and (rows.min() < 0 or rows.max() >= n_clips):
        raise damaged(path, "a window belongs to a clip that it does not list")


def _non_finite_clips(tensors: Mapping[str, NDArray[Any]], clip_ids: Sequence[str]) -> dict[str, str]:
    bad = np.zeros(len(clip_ids), dtype=bool)
    for name, tensor in tensors.items():
        if name == "window_row":
            continue
        bad_rows = ~np.isfinite(tensor.reshape(len(tensor), -1)).all(axis=1)
        np.logical_or.at(bad, tensors["window_row"][bad_rows] if name == "windows" else bad_rows, True)
    return {clip_ids[row]: "embedding: non_finite" for row in np.flatnonzero(bad)}
