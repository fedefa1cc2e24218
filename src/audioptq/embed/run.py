"""Runs an evaluator over clips, references or captions, and keeps what the metrics need."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audioptq.audio.clips import ListedClip
from audioptq.audio.manifest import UNUSABLE
from audioptq.console import progress
from audioptq.embed.base import Evaluator, TextEvaluator
from audioptq.embed.self_test import probe
from audioptq.evaluators import evaluator_info

Row = dict[str, Tensor]
Embedded = tuple[dict[str, Tensor], dict[str, Any]]
# Fixed, so that a clip always meets the same neighbours in its batch: kernels round differently for other sizes.
CLIPS_PER_BATCH = 8
CAPTIONS_PER_BATCH = 64


def load_evaluator(name: str, files: Mapping[str, str | Path], variant: str | None = None, device: str = "cpu") -> Any:
    """Reads an evaluator's weights and lets it prove itself.

    Args:
        name: Id of the evaluator, a file of this folder.
        files: Its weights, by their names in workflow/weights.tsv.
        variant: Which of its networks; None for the default.
        device: Where it runs.

    Raises:
        UserError: If there is no evaluator of that name, or no such variant.
        DamagedArtifactError: If a file does not hold it, or it fails its self-test.
    """
    info = evaluator_info(name)
    module = importlib.import_module(f"audioptq.embed.{info.id}")
    paths = {key: Path(path) for key, path in files.items()}
    evaluator = module.load(paths, info.variant(variant), device)
    evaluator.self_test()
    return evaluator


def embed_clips(
    name: str,
    evaluator: Evaluator,
    clips: Sequence[Mapping[str, Any]],
    description: str,
    cached: Mapping[str, Row] | None = None,
) -> Embedded:
    """Embeds audio files; rows follow `clips`, and unusable clips have rows of zeros and are named.

    Clips that share a file share its row; its windows are stored once, with the first of them by name, which is the one that
    stands for the reference in a Fréchet distance.

    Args:
        name: Id of the evaluator.
        evaluator: Ready to use.
        clips: `clip_id`, `path` (null where there is no reference) and optionally `status`, `sha256` and `listed_in` of each.
        description: For the progress bar.
        cached: Rows of an earlier run by the SHA-256 of the file they were made from (`cache.cached_rows`). A batch is taken
            from there whole or not at all.

    Returns:
        Tensors and metadata as the data contract of embeddings has them.
    """
    excluded, files = _listed(clips)
    digests = {path: file.digest() for path, file in files.items()}
    rows = _rows(evaluator, list(files.values()), digests, description, cached or {})
    path_of = {clip["clip_id"]: str(clip["path"]) for clip in clips if clip["clip_id"] not in excluded}
    tensors = _stacked([clip["clip_id"] for clip in clips], path_of, rows, evaluator)
    return tensors, {**evaluator.metadata, "embedder": name, **_record(clips, excluded, digests)}


def clip_record(clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the metadata of these clips' embeddings say of them: `clip_ids`, `excluded` and `audio_sha256`."""
    excluded, files = _listed(clips)
    return _record(clips, excluded, {path: file.digest() for path, file in files.items()})


def _listed(clips: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, ListedClip]]:
    """Clips that cannot be embedded, with the reason, and the files of the others by their paths."""
    excluded = {clip["clip_id"]: clip["status"] for clip in clips if clip.get("status") in UNUSABLE}
    excluded |= {clip["clip_id"]: "no audio" for clip in clips if clip["path"] is None}
    return excluded, {str(clip["path"]): ListedClip.of(clip) for clip in clips if clip["clip_id"] not in excluded}


def _record(clips: Sequence[Mapping[str, Any]], excluded: dict[str, str], digests: Mapping[str, str]) -> dict[str, Any]:
    return {
        "clip_ids": [clip["clip_id"] for clip in clips],
        "excluded": excluded,
        "audio_sha256": [None if clip["clip_id"] in excluded else digests[str(clip["path"])] for clip in clips],
    }


def _rows(
    evaluator: Evaluator,
    files: Sequence[ListedClip],
    digests: Mapping[str, str],
    description: str,
    cached: Mapping[str, Row],
) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    batches = [files[first : first + CLIPS_PER_BATCH] for first in range(0, len(files), CLIPS_PER_BATCH)]
    for batch in progress(batches, description, unit="batch"):
        paths = [file.path for file in batch]
        if all(digests[path] in cached for path in paths):
            rows |= {path: cached[digests[path]] for path in paths}
        else:
            rows |= dict(zip(paths, evaluator.embed([file.read() for file in batch]), strict=True))
    return rows


def _stacked(
    clip_ids: Sequence[str], path_of: Mapping[str, str], rows: Mapping[str, Row], evaluator: Evaluator
) -> dict[str, Tensor]:
    like = next(iter(rows.values())) if rows else evaluator.embed([probe()[0]])[0]
    of_clip = [rows[path_of[clip_id]] if clip_id in path_of else None for clip_id in clip_ids]
    tensors = {
        key: torch.stack([torch.zeros_like(like[key]) if row is None else row[key] for row in of_clip])
        for key in like
        if key != "windows"
    }
    if "windows" in like:
        first_of_file: dict[str, str] = {}
        for clip_id in sorted(path_of):
            first_of_file.setdefault(path_of[clip_id], clip_id)
        standing = set(first_of_file.values())
        own = [(index, rows[path_of[c]]["windows"]) for index, c in enumerate(clip_ids) if c in standing]
        tensors["windows"] = torch.cat([like["windows"][:0], *(windows for _, windows in own)])
        lengths = torch.tensor([len(windows) for _, windows in own], dtype=torch.int64)
        tensors["window_row"] = torch.tensor([index for index, _ in own]).long().repeat_interleave(lengths)
    return tensors


def embed_captions(name: str, evaluator: TextEvaluator, clip_ids: Sequence[str], captions: Sequence[str]) -> Embedded:
    """Text embeddings of the prompts; words that do not reach the network are counted in the metadata."""
    batches = [captions[first : first + CAPTIONS_PER_BATCH] for first in range(0, len(captions), CAPTIONS_PER_BATCH)]
    text = torch.cat([evaluator.embed_text(list(batch)) for batch in progress(batches, "embed captions", unit="batch")])
    dropped = [evaluator.dropped_words(caption) for caption in captions]
    names = {"embedder": name, "clip_ids": list(clip_ids), "excluded": {}}
    return {"text": text}, {**names, "dropped_words": dropped}
