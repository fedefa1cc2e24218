"""KL divergence between the class probabilities of generated and reference audio."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from audioptq.audio.manifest import source_of
from audioptq.score.guard import failed_clips, merge_notes
from audioptq.score.inputs import ScoreInputs, damaged, embedding_pair
from audioptq.score.table import clip_table

TENSORS = {"generated": ("logits",), "target": ("logits",)}
EPSILON = 1e-6


def kl_divergence(*, target: ArrayLike, generated: ArrayLike, epsilon: float = EPSILON) -> NDArray[np.float64]:
    """KL(generated‖reference) per clip in nats; lower is better, 0 for equal probabilities.

    `KL_i = sum_c p_ic (ln p_ic - ln(q_ic + epsilon))`, p = softmax(generated), q = softmax(target)

    As in stable-audio-metrics (src/passt_kld.py), epsilon is added to the reference alone and nothing is normalised
    again, so that equal inputs give a little less than zero: at least `-classes * epsilon`. The direction differs from
    audiocraft's `kld_pq` and from audioldm_eval, which compute KL(reference‖generated).

    Args:
        target: Logits of the reference audio `[clips, classes]`.
        generated: Logits of the generated audio `[clips, classes]`, same order.
        epsilon: Added to the reference probabilities.

    Returns:
        Divergences in nats `[clips]`, in [-classes * epsilon, -ln(epsilon)].

    Example:
        >>> kl_divergence(target=np.log([[0.5, 0.5]]), generated=np.log([[0.25, 0.75]])).round(4)
        array([0.1308])

    Raises:
        ValueError: If shapes differ or a logit is not finite.
    """
    reference, logits = np.asarray(target, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    if logits.ndim != 2 or logits.shape != reference.shape:
        raise ValueError(f"target {reference.shape} and generated {logits.shape} must both be [clips, classes]")
    if not (np.isfinite(reference).all() and np.isfinite(logits).all()):
        raise ValueError("a logit is not finite")
    log_p, log_q = _log_softmax(logits), _log_softmax(reference)
    return np.asarray(np.sum(np.exp(log_p) * (log_p - np.log(np.exp(log_q) + epsilon)), axis=1), dtype=np.float64)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float64)


def score(metric: str, inputs: ScoreInputs) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scores each clip against the reference of its caption: the long table, and the settings."""
    generated, target = embedding_pair(inputs)
    notes = merge_notes(
        ("", failed_clips(inputs.manifest, source_of(inputs.manifest))),
        ("", generated.excluded),
        ("reference", target.excluded),
    )
    if generated.metadata.get("classes") != target.metadata.get("classes"):
        raise damaged(generated.path, f"its classes are not those of {target.path}")
    clip_ids = inputs.prompts["clip_id"].tolist()
    scored = [clip_id for clip_id in clip_ids if clip_id not in notes]
    reference, logits = target.rows("logits", scored), generated.rows("logits", scored)
    if reference.shape != logits.shape:
        raise damaged(generated.path, f"its logits have shape {logits.shape}, those of {target.path} {reference.shape}")
    values = dict(zip(scored, kl_divergence(target=reference, generated=logits), strict=True))
    settings = {"direction": "KL(generated||reference)", "epsilon": EPSILON, "epsilon_added_to": "reference"}
    return clip_table(metric, clip_ids, values=values, notes=notes), settings
