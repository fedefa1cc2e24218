"""Embeddings kept by the content of the audio: a rerun embeds again only what changed.

Snakemake removes an output before it makes it anew. A second name of the same file survives that, and costs no space until the
two differ.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audioptq.errors import DamagedArtifactError
from audioptq.files.artifacts import atomic_path, digest, file_digest, read_tensors


def evaluator_digest(name: str, variant: str | None, files: Sequence[str | Path], code: Sequence[str | Path]) -> str:
    """What an embedding depends on beside the audio: the evaluator, its weights and the library files behind it."""
    return digest([name, variant, *(file_digest(path) for path in (*files, *code))])


def cached_rows(path: str | Path, made_by: str) -> dict[str, dict[str, Tensor]]:
    """Rows of an earlier output at `path` by the SHA-256 of their audio; none if it was made by something else.

    Args:
        path: Of the output that is about to be made.
        made_by: `evaluator_digest` of now.
    """
    try:
        tensors, metadata = read_tensors(_second_name(path))
    except DamagedArtifactError:  # absent or cut off: nothing is lost but time
        return {}
    if metadata.get("made_by") != made_by:
        return {}
    rows: dict[str, dict[str, Tensor]] = {}
    for index, sha256 in enumerate(metadata["audio_sha256"]):
        if sha256 is None or sha256 in rows:
            continue
        row = {key: tensor[index] for key, tensor in tensors.items() if key not in ("windows", "window_row")}
        if "windows" in tensors:
            row["windows"] = tensors["windows"][tensors["window_row"] == torch.tensor(index)]
            if not len(row["windows"]):  # another clip of the same file has them
                continue
        rows[sha256] = row
    return rows


def restore(path: str | Path, made_by: str, record: Callable[[], Mapping[str, Any]]) -> bool:
    """Gives an earlier output at `path` its name back, if the same thing made it of the same clips; says whether it did.

    Args:
        path: Of the output.
        made_by: `evaluator_digest` of now.
        record: What the output's metadata would say of its clips; called only if there is an earlier output.
    """
    try:
        _, metadata = read_tensors(_second_name(path))
    except DamagedArtifactError:  # absent or cut off
        return False
    if metadata.get("made_by") != made_by or not record().items() <= metadata.items():
        return False
    _link(_second_name(path), Path(path))
    os.utime(path)  # younger than what it is made from
    return True


def keep(path: str | Path) -> None:
    """Gives the finished output at `path` a second name, by which the next run finds it."""
    _link(Path(path), _second_name(path))


def _link(path: Path, name: Path) -> None:
    with atomic_path(name) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)


def _second_name(path: str | Path) -> Path:
    path = Path(path)
    return path.with_name(f".{path.name}.kept")
