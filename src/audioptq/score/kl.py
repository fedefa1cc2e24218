"""KL divergence between the class probabilities of generated audio and of what it is compared with."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from audioptq.audio.manifest import failed_clips
from audioptq.score.inputs import ScoreInputs, embedding_pair
from audioptq.score.table import clip_table, metric_info
from audioptq.score.usable import damaged, merge_notes

TENSORS = {"generated": (("logits",),), "target": (("logits",), ("probabilities",))}
EPSILON = 1e-6
# Published probabilities are float32 and sum to one within some 1e-6; sigmoids, which are none, miss it by far.
SUM_TOLERANCE = 1e-3


def kl_divergence(
    *,
    generated: ArrayLike,
    target: ArrayLike | None = None,
    target_probabilities: ArrayLike | None = None,
    epsilon: float = EPSILON,
) -> NDArray[np.float64]:
    """KL(generated‖reference) per clip in nats; lower is better, 0 for equal probabilities.

    `KL_i = sum_c p_ic (ln p_ic - ln(q_ic + epsilon))`, p = softmax(generated), q = softmax(target)

    As in stable-audio-metrics (src/passt_kld.py), epsilon is added to the reference alone and nothing is normalised
    again, so that equal inputs give a little less than zero: at least `-classes * epsilon`. The direction differs from
    audiocraft's `kld_pq` and from audioldm_eval, which compute KL(reference‖generated).

    Args:
        generated: Logits of the generated audio `[clips, classes]`.
        target: Logits of the reference audio `[clips, classes]`, same order.
        target_probabilities: In place of `target`: q itself, `[clips, classes]`, as published.
        epsilon: Added to the reference probabilities; with 0, which logits allow, equal inputs give exactly 0.

    Returns:
        Divergences in nats `[clips]`, in [-classes * epsilon, -ln(epsilon)].

    Example:
        >>> kl_divergence(target=np.log([[0.5, 0.5]]), generated=np.log([[0.25, 0.75]])).round(4)
        array([0.1308])
        >>> kl_divergence(target_probabilities=[[0.5, 0.5]], generated=np.log([[0.25, 0.75]])).round(4)
        array([0.1308])

    Raises:
        ValueError: If shapes differ, a value is not finite, probabilities are none, or not exactly one target is given.
    """
    if (target is None) == (target_probabilities is None):
        raise ValueError("give either target or target_probabilities")
    logits = np.asarray(generated, dtype=np.float64)
    reference = np.asarray(target if target_probabilities is None else target_probabilities, dtype=np.float64)
    if logits.ndim != 2 or logits.shape != reference.shape:
        raise ValueError(f"target {reference.shape} and generated {logits.shape} must both be [clips, classes]")
    if not (np.isfinite(reference).all() and np.isfinite(logits).all()):
        raise ValueError("a logit or a probability is not finite")
    if target_probabilities is not None and not are_probabilities(reference).all():
        raise ValueError("target_probabilities are below 0, or a row does not sum to 1")
    log_p = _log_softmax(logits)
    if target_probabilities is None and not epsilon:
        log_q = _log_softmax(reference)  # as it is: by way of q, equal logits would not give exactly 0
    else:
        q = np.exp(_log_softmax(reference)) if target_probabilities is None else reference
        log_q = np.log(q + epsilon)
    return np.asarray(np.sum(np.exp(log_p) * (log_p - log_q), axis=1), dtype=np.float64)


def are_probabilities(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each row of `[clips, classes]` has no value below 0 and sums to 1, `[clips]`."""
    return np.asarray((rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) <= SUM_TOLERANCE))


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float64)


def score(metric: str, inputs: ScoreInputs) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scores each clip against the reference of its caption, or against full precision's clip: the long table, and the settings.

    Against full precision nothing is added: its softmax is never 0, and what is added would be a quarter of bfloat16's distance.
    """
    generated, target = embedding_pair(inputs)
    info = metric_info(metric)
    epsilon = 0.0 if info.is_distance else EPSILON
    published = "probabilities" in target.tensors
    notes = merge_notes(
        ("", failed_clips(inputs.manifest)),
        ("", generated.excluded),
        ("" if published else info.target, target.excluded),
    )
    # Published probabilities come without the names of their classes; their number is compared below.
    if not published and generated.metadata.get("classes") != target.metadata.get("classes"):
        raise damaged(generated.path, f"its classes are not those of {target.path}")
    clip_ids = inputs.prompts["clip_id"].tolist()
    scored = [clip_id for clip_id in clip_ids if clip_id not in notes]
    name = "probabilities" if published else "logits"
    reference, logits = target.rows(name, scored), generated.rows("logits", scored)
    if reference.shape != logits.shape:
        raise damaged(generated.path, f"its logits have shape {logits.shape}, those of {target.path} {reference.shape}")
    if published and not are_probabilities(reference).all():
        first = scored[int(np.argmin(are_probabilities(reference)))]
        raise damaged(target.path, f"its probabilities of clip {first!r} are below 0 or do not sum to 1")
    side = "target_probabilities" if published else "target"
    kl = kl_divergence(generated=logits, epsilon=epsilon, **{side: reference})
    values = dict(zip(scored, kl, strict=True))
    settings = {
        "direction": f"KL(generated||{info.target})",
        "epsilon": epsilon,
        "epsilon_added_to": info.target if epsilon else "nothing",
        "reference": f"published {name}" if published else name,
    }
    return clip_table(metric, clip_ids, values=values, notes=notes), settings
