"""CLAP score: how well audio matches its caption."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from audioptq.audio.manifest import failed_clips
from audioptq.score.inputs import ScoreInputs, embedding_pair
from audioptq.score.table import clip_table
from audioptq.score.usable import damaged, merge_notes

TENSORS = {"generated": (("audio",),), "target": (("text",),)}


def clap_score(*, target: ArrayLike, generated: ArrayLike) -> NDArray[np.float64]:
    """Cosine between the embedding of a clip and that of its caption, in [-1, 1]; higher is better.

    `cos_i = <audio_i, text_i> / (|audio_i| |text_i|)`

    Source: Wu et al. 2023, "Large-scale contrastive language-audio pretraining with feature fusion and
    keyword-to-caption augmentation"; averaged over captions as in stable-audio-metrics.

    Args:
        target: Text embeddings `[clips, dim]`.
        generated: Audio embeddings `[clips, dim]`, same order.

    Returns:
        Cosines `[clips]`.

    Example:
        >>> clap_score(target=[[1.0, 0.0], [0.0, 2.0]], generated=[[0.6, 0.8], [0.0, -1.0]])
        array([ 0.6, -1. ])

    Raises:
        ValueError: If shapes differ, or an embedding is zero or not finite.
    """
    text, audio = np.asarray(target, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    if text.ndim != 2 or text.shape != audio.shape:
        raise ValueError(f"target {text.shape} and generated {audio.shape} must both be [clips, dim]")
    norms = np.linalg.norm(text, axis=1) * np.linalg.norm(audio, axis=1)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise ValueError("an embedding is zero or not finite; it has no direction to compare")
    # Rounding can leave a cosine of parallel vectors at 1 + 2e-16.
    return np.clip(np.sum(text * audio, axis=1) / norms, -1.0, 1.0)


def score(metric: str, inputs: ScoreInputs) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scores each clip against its own caption: the long table, and the settings."""
    generated, target = embedding_pair(inputs)
    notes = merge_notes(
        ("", failed_clips(inputs.manifest)),
        ("", generated.excluded),
        ("prompt", target.excluded),
    )
    clip_ids = inputs.prompts["clip_id"].tolist()
    scored = [clip_id for clip_id in clip_ids if clip_id not in notes]
    text, audio = target.rows("text", scored), generated.rows("audio", scored)
    if text.shape != audio.shape:
        raise damaged(generated.path, f"its embeddings have shape {audio.shape}, those of {target.path} {text.shape}")
    values = dict(zip(scored, clap_score(target=text, generated=audio), strict=True))
    return clip_table(metric, clip_ids, values=values, notes=notes), {}
