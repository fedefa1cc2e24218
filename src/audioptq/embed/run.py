"""Runs an evaluator over clips, references or captions, and keeps what the metrics need."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audioptq.artifacts import read_tensors
from audioptq.audio.clips import read_clip
from audioptq.console import progress
from audioptq.embed.clap_mini import ClapMini
from audioptq.embed.tagger_mini import SAMPLE_RATE_HZ, TaggerMini
from audioptq.errors import DamagedArtifactError, UserError

Embedded = tuple[dict[str, Tensor], dict[str, Any]]
UNUSABLE = ("silent", "non_finite")
SHORTEST_SAMPLES = 2 * SAMPLE_RATE_HZ  # shorter clips are padded with silence: the tagger needs a whole window


def load_evaluator(name: str, path: str | Path) -> Any:
    """Builds an evaluator and reads its weights.

    Raises:
        UserError: If there is no evaluator of that name.
        DamagedArtifactError: If the file does not hold it.
    """
    builders: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
        "tagger_mini": lambda metadata: TaggerMini(len(metadata["classes"])),
        "clap_mini": lambda metadata: ClapMini(metadata["vocabulary"]),
    }
    if name not in builders:
        raise UserError(f"There is no evaluator {name!r}; there are {', '.join(builders)}.")
    tensors, metadata = read_tensors(path)
    try:
        evaluator: Any = builders[name](metadata)
        evaluator.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        raise DamagedArtifactError(f"{path} does not hold the evaluator {name}: {error}") from error
    evaluator.metadata = {**metadata, "embedder": name}
    return evaluator.eval().requires_grad_(False)


@torch.inference_mode()
def embed_clips(evaluator: Any, clips: Sequence[Mapping[str, Any]], description: str) -> Embedded:
    """Embeds audio files one by one; rows follow `clips`, and unusable clips have rows of zeros and are named.

    Args:
        evaluator: `TaggerMini` or `ClapMini`.
        clips: `clip_id`, `path` (null where there is no reference) and optionally `status` of each.
        description: For the progress bar.

    Returns:
        Tensors and metadata as the data contract of embeddings has them.
    """
    excluded = {clip["clip_id"]: clip["status"] for clip in clips if clip.get("status") in UNUSABLE}
    excluded |= {clip["clip_id"]: "no audio" for clip in clips if clip["path"] is None}
    rows = [
        None if clip["clip_id"] in excluded else _embed_audio(evaluator, read_mono(clip["path"]))
        for clip in progress(clips, description, unit="clip")
    ]
    like = _embed_audio(evaluator, torch.zeros(1, SHORTEST_SAMPLES))
    tensors = {
        key: torch.stack([torch.zeros_like(like[key]) if row is None else row[key] for row in rows])
        for key in like
        if key != "windows"
    }
    if "windows" in like:
        usable = [(index, row["windows"]) for index, row in enumerate(rows) if row is not None]
        tensors["windows"] = torch.cat([like["windows"][:0], *(windows for _, windows in usable)])
        lengths = torch.tensor([len(windows) for _, windows in usable], dtype=torch.int64)
        tensors["window_row"] = torch.tensor([index for index, _ in usable]).long().repeat_interleave(lengths)
    metadata = {
        "embedder": evaluator.metadata["embedder"],
        "clip_ids": [clip["clip_id"] for clip in clips],
        "excluded": excluded,
    }
    if "classes" in evaluator.metadata:
        metadata["classes"] = evaluator.metadata["classes"]
    return tensors, metadata


def _embed_audio(evaluator: Any, audio: Tensor) -> dict[str, Tensor]:
    if isinstance(evaluator, ClapMini):
        return {"audio": evaluator.embed_audio(audio)[0]}
    logits, windows = evaluator(audio)
    return {"logits": logits[0], "windows": windows[0]}


@torch.inference_mode()
def embed_captions(evaluator: Any, clip_ids: Sequence[str], captions: Sequence[str]) -> Embedded:
    """Text embeddings of the prompts; words outside the vocabulary are counted in the metadata."""
    text = torch.cat([evaluator.embed_text([caption]) for caption in captions])
    dropped = [len(evaluator.text_encoder.tokenizer.dropped(caption)) for caption in captions]
    names = {"embedder": evaluator.metadata["embedder"], "clip_ids": list(clip_ids)}
    return {"text": text}, {**names, "excluded": {}, "dropped_words": dropped}


def read_mono(path: str | Path) -> Tensor:
    """Mono audio `[1, samples]` of a file, at the evaluators' sample rate."""
    audio, sample_rate = read_clip(path)
    mono = audio.mean(axis=0)
    if sample_rate != SAMPLE_RATE_HZ:
        import soxr

        mono = soxr.resample(mono, sample_rate, SAMPLE_RATE_HZ)
    return torch.from_numpy(np.pad(mono, (0, max(0, SHORTEST_SAMPLES - len(mono))))).float().unsqueeze(0)
