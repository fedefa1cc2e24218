"""Published statistics of a data set's references, in place of their audio: stable-audio-metrics' files, read as data."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from audioptq.embed.torch_file import not_of
from audioptq.errors import UserError
from audioptq.files.artifacts import file_digest
from audioptq.files.foreign_checkpoint import CheckpointError, read_pickle

Converted = tuple[dict[str, NDArray[Any]], dict[str, Any]]
NOT_PUBLISHED = "no reference"
# What the publications were made with, in the words of the evaluators' own metadata: embeddings of another variant of the
# network are refused.
MADE_WITH = {"openl3": {"frontend": "kapre 0.3.7"}}


def convert(path: str | Path, embedder: str, prompts: pd.DataFrame) -> Converted:
    """Turns a published file into what the score stage reads in place of reference embeddings.

    Args:
        path: `.npz` with the mean and covariance of a set of windows, or `.pkl` with class probabilities by clip.
        embedder: Evaluator whose embeddings they summarise.
        prompts: The data set's prompts.

    Returns:
        Tensors and metadata of an embedding file: `mean` `[dim]` and `covariance` `[dim, dim]`, or `probabilities`
        `[clips, classes]` with the clips that have them and, in `excluded`, those that have none.

    Raises:
        UserError: If the ending is another one, or no prompt is among the published clips.
        DamagedArtifactError: If the file is damaged, or is not what the publication has.
    """
    path = Path(path)
    readers: dict[str, Callable[[], Converted]] = {
        ".npz": lambda: window_statistics(path),
        ".pkl": lambda: class_probabilities(path, prompts),
    }
    if path.suffix not in readers:
        raise UserError(
            f"The published references {path} are neither .npz (mean and covariance) nor .pkl (class probabilities). "
            "Mend `published_references` of the data set in the config."
        )
    tensors, metadata = readers[path.suffix]()
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    # The publication's repository names its files by git's own digest, so that both are of use.
    source = {"file": path.name, "sha256": file_digest(path), "git_blob": blob}
    return tensors, {"embedder": embedder, **MADE_WITH.get(embedder, {}), **metadata, "source": source}


def window_statistics(path: Path) -> Converted:
    """Reads `mu_ref` and `sigma_ref` (stable-audio-metrics, src/openl3_fd.py), the fit of all windows of all references.

    Their number is in no file and so not known here.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            mean, covariance = (np.asarray(archive[key], dtype=np.float64) for key in ("mu_ref", "sigma_ref"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise not_of(path, "an archive with mu_ref and sigma_ref", str(error)) from error
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise not_of(path, "a mean and its covariance", f"their shapes are {mean.shape} and {covariance.shape}")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise not_of(path, "a mean and its covariance", "a value is not finite")
    return {"mean": mean, "covariance": covariance}, {"n_windows": None}


def class_probabilities(path: Path, prompts: pd.DataFrame) -> Converted:
    """Reads a table clip id -> probabilities `[classes]` (stable-audio-metrics, src/passt_kld.py) for these prompts."""
    table = {str(key): _probabilities(path, key, value) for key, value in read_tensor_table(path).items()}
    clip_ids = [clip_id for clip_id in prompts["clip_id"] if clip_id in table]
    if not clip_ids:
        first = next(iter(table), "none")
        raise UserError(
            f"None of the {len(table)} clips of {path} (first: {first!r}) is among the prompts (first: "
            f"{prompts['clip_id'].iloc[0]!r}). Name the column of the same ids as clip_id in the data set's columns, or take "
            "the file out of its `published_references`."
        )
    shapes = {table[clip_id].shape for clip_id in clip_ids}
    if len(shapes) > 1:
        raise not_of(path, "a table of probabilities", f"its rows have the shapes {sorted(shapes)}")
    absent = {clip_id: NOT_PUBLISHED for clip_id in prompts["clip_id"] if clip_id not in table}
    stacked = np.stack([table[clip_id] for clip_id in clip_ids])
    return {"probabilities": stacked}, {"clip_ids": clip_ids, "excluded": absent}


def _probabilities(path: Path, key: Any, value: Any) -> NDArray[np.float32]:
    if not isinstance(key, str | int) or not isinstance(value, torch.Tensor) or value.ndim != 1:
        raise not_of(path, "a table of probabilities", f"the entry {key!r} is not a clip with one row of numbers")
    row = value.detach().to(torch.float32).numpy()
    if not np.isfinite(row).all() or (row < 0).any() or abs(float(row.sum(dtype=np.float64)) - 1) > 1e-3:
        raise not_of(path, "a table of probabilities", f"those of clip {key!r} are below 0 or do not sum to 1")
    return row


def read_tensor_table(path: Path) -> dict[Any, Any]:
    """Reads a pickled dictionary of tensors, and runs nothing that is pickled with them.

    Raises:
        DamagedArtifactError: If the file is missing or damaged, or asks for anything else; nothing of it has run then.
    """
    try:
        table = read_pickle(path)
    except CheckpointError as error:
        raise not_of(path, "a table of tensors", str(error)) from error
    if not isinstance(table, dict) or not table:
        raise not_of(path, "a table of tensors", "it holds no dictionary, or an empty one")
    return table
