"""Reads embedding files: one of a recipe, or several that share its clips, as one set of rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audioptq.errors import UserError
from audioptq.files.artifacts import read_tensors
from audioptq.score.usable import damaged

Paths = str | Path | Sequence[str | Path]
File = tuple[dict[str, NDArray[Any]], dict[str, Any]]
# What an embedding file says of its own clips; everything else in its metadata is the evaluator's.
PER_CLIP = ("clip_ids", "excluded", "dropped_words", "audio_sha256")
# Tensors of a whole set of references, in which no clip has a row.
STATISTICS = ("mean", "covariance")


def read_file(path: str | Path) -> File:
    """Tensors and metadata of an embedding file."""
    return read_tensors(path, framework="np")


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of a recipe's clips, of captions, or of references.

    Attributes:
        path: Where they were read from, for error texts.
        clip_ids: Clip of each row; none for statistics.
        excluded: Clips that could not be embedded, with the reason; among them those whose row is not finite or all zero.
        tensors: `logits`, `probabilities`, `audio`, `text`: `[clips, ...]`; `windows` `[windows, dim]` with `window_row`
            `[windows]`; or the statistics of a set, `mean` `[dim]` and `covariance` `[dim, dim]`.
        metadata: The file's own; of several files, the first one's evaluator.
    """

    path: str
    clip_ids: tuple[str, ...]
    excluded: dict[str, str]
    tensors: dict[str, NDArray[Any]]
    metadata: dict[str, Any]

    @classmethod
    def read(
        cls, paths: Paths, alternatives: Sequence[Sequence[str]], read: Callable[[str | Path], File] = read_file
    ) -> "Embeddings":
        """Reads one embedding file, or several of one evaluator with different clips, and checks that they are whole.

        Args:
            paths: The file or files.
            alternatives: Sets of tensors that the caller can use; a file must hold exactly one of them.
            read: Reads one file; several metrics of one evaluator share a reader that keeps what it has read.

        Raises:
            UserError: If there is no file.
            DamagedArtifactError: If a tensor or the clip ids are absent, a clip occurs twice, shapes disagree, or two files
                are not of one evaluator.
        """
        files = [paths] if isinstance(paths, str | Path) else list(paths)
        if not files:
            raise UserError("There is no embedding file to score. Give at least one.")
        parts = [cls._of_file(path, *read(path), alternatives) for path in files]
        return parts[0] if len(parts) == 1 else cls._join(parts)

    @classmethod
    def _of_file(
        cls,
        path: str | Path,
        tensors: dict[str, NDArray[Any]],
        metadata: dict[str, Any],
        alternatives: Sequence[Sequence[str]],
    ) -> "Embeddings":
        names = _choose(path, tensors, alternatives)
        tensors = {name: tensors[name] for name in names}
        if names == STATISTICS:
            return cls(str(path), (), {}, tensors, metadata)
        clip_ids = tuple(metadata.get("clip_ids", ()))
        if not clip_ids and not metadata.get("excluded"):
            raise damaged(path, "its metadata name no clips")
        if len(set(clip_ids)) != len(clip_ids):
            raise damaged(path, "a clip occurs twice in it")
        _check_rows(path, tensors, len(clip_ids))
        excluded = {**_unusable_rows(tensors, clip_ids), **dict(metadata.get("excluded", {}))}
        return cls(str(path), clip_ids, excluded, tensors, metadata)

    @classmethod
    def _join(cls, parts: Sequence["Embeddings"]) -> "Embeddings":
        owner: dict[str, str] = {}
        for part in parts:
            _check_same_evaluator(parts[0], part)
            for clip_id in {*part.clip_ids, *part.excluded}:
                if clip_id in owner:
                    raise damaged(part.path, f"the clip {clip_id!r} is also in {owner[clip_id]}")
                owner[clip_id] = part.path
        tensors = {name: np.concatenate([part.tensors[name] for part in parts]) for name in parts[0].tensors}
        if "window_row" in tensors:
            first_row = np.cumsum([0, *(len(part.clip_ids) for part in parts[:-1])])
            lengths = [len(part.tensors["window_row"]) for part in parts]
            tensors["window_row"] = tensors["window_row"] + np.repeat(first_row, lengths)
        return cls(
            f"{parts[0].path} and {len(parts) - 1} more files",
            tuple(clip_id for part in parts for clip_id in part.clip_ids),
            {clip_id: reason for part in parts for clip_id, reason in part.excluded.items()},
            tensors,
            evaluator_metadata(parts[0].metadata),
        )

    @property
    def has_clips(self) -> bool:
        """Whether rows belong to clips; false for the statistics of a set."""
        return "mean" not in self.tensors

    def row_of(self) -> dict[str, int]:
        """Row of each clip that can be scored."""
        return {clip_id: row for row, clip_id in enumerate(self.clip_ids) if clip_id not in self.excluded}

    def rows(self, name: str, clip_ids: Iterable[str]) -> NDArray[np.float64]:
        """Rows of tensor `name` for these clips, in this order, float64 `[clips, ...]`."""
        row_of = self.row_of()
        index = np.array([row_of[clip_id] for clip_id in clip_ids], dtype=np.int64)
        return self.tensors[name][index].astype(np.float64)


def evaluator_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a file's metadata say of the evaluator, without what they say of its clips."""
    return {key: value for key, value in metadata.items() if key not in PER_CLIP}


def _check_same_evaluator(first: Embeddings, other: Embeddings) -> None:
    one, two = evaluator_metadata(first.metadata), evaluator_metadata(other.metadata)
    for key in sorted({*one, *two}):
        if one.get(key) != two.get(key):
            raise damaged(other.path, f"its {key} is {two.get(key)!r}, that of {first.path} is {one.get(key)!r}")
    for name in other.tensors:
        shapes = [list(part.tensors[name].shape[1:]) for part in (other, first)]
        if shapes[0] != shapes[1]:
            raise damaged(
                other.path, f"a row of its tensor {name!r} has shape {shapes[0]}, in {first.path} {shapes[1]}"
            )


def _choose(path: str | Path, tensors: Mapping[str, Any], alternatives: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The one of `alternatives` that a file has."""
    present = [tuple(names) for names in alternatives if set(names) <= set(tensors)]
    if len(present) > 1:
        both = " and ".join(names[0] for names in present)
        raise damaged(path, f"it has {both}, which are two answers to the same question; keep one of them")
    if not present:
        absent = " and no tensor ".join(
            repr(next(name for name in names if name not in tensors)) for names in alternatives
        )
        raise damaged(path, f"it has no tensor {absent} (it has {', '.join(sorted(tensors))})")
    return present[0]


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


def _unusable_rows(tensors: Mapping[str, NDArray[Any]], clip_ids: Sequence[str]) -> dict[str, str]:
    """Clips whose values mean nothing, and why: not finite, all zero, or without a window."""
    not_finite = np.zeros(len(clip_ids), dtype=bool)
    not_zero = np.ones(len(clip_ids), dtype=bool)
    for name, tensor in tensors.items():
        if name == "window_row":
            continue
        within = tuple(range(1, tensor.ndim))  # also of no windows at all, where every clip of the file is silent
        finite, filled = np.isfinite(tensor).all(axis=within), tensor.any(axis=within)
        if name == "windows":
            row = tensors["window_row"]
            finite, filled = ~_any_of(row, ~finite, len(clip_ids)), _any_of(row, filled, len(clip_ids))
        not_finite |= ~finite
        not_zero &= filled
    reasons = {clip_ids[row]: "embedding: zero" for row in np.flatnonzero(~not_zero)}
    if "window_row" in tensors:
        without = np.bincount(tensors["window_row"].astype(np.int64), minlength=len(clip_ids)) == 0
        reasons |= {clip_ids[row]: "embedding: no windows" for row in np.flatnonzero(without)}
    return reasons | {clip_ids[row]: "embedding: non_finite" for row in np.flatnonzero(not_finite)}


def _any_of(clip: NDArray[Any], is_set: NDArray[np.bool_], n_clips: int) -> NDArray[np.bool_]:
    """Whether any window of each clip is set, `[clips]`."""
    return np.bincount(clip[is_set].astype(np.int64), minlength=n_clips) > 0
