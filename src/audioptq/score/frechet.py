"""Frechet distance between the embedding windows of generated and reference audio, with bootstrap replicates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from audioptq.audio.manifest import source_of
from audioptq.score.guard import failed_clips, merge_notes
from audioptq.score.inputs import Embeddings, ScoreInputs, damaged, embedding_pair
from audioptq.score.resample import cluster_ids, resample_counts
from audioptq.score.table import set_table

TENSORS = {"generated": ("windows", "window_row"), "target": ("windows", "window_row")}
TOO_FEW = "fewer than 2 windows"
# Sums of outer products per clip are kept while they need less than this; beyond it they are formed per replicate.
MAX_SUMS_BYTES = 2**28
REPLICATES_AT_ONCE = 50

FloatArray = NDArray[np.float64]


def frechet_distance(*, target: ArrayLike, generated: ArrayLike) -> float:
    """Frechet distance between Gaussian fits of two sets of windows; lower is better, 0 for equal sets.

    `d2 = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2`, covariances with ddof = 1

    The symmetric form has the same trace as `(C1 C2)^1/2` and needs only eigenvalues of symmetric matrices: it is real
    for covariances of any rank. d2 itself is the published "FD" and "FAD", not its root.

    Source: Dowson and Landau 1982, eq. 16; Heusel et al. 2017; for audio Kilgour et al. 2019.

    Args:
        target: Windows of the reference set `[windows, dim]`.
        generated: Windows of the generated set `[windows, dim]`; the two numbers of windows may differ.

    Example:
        >>> round(frechet_distance(target=[[0.0], [2.0]], generated=[[3.0], [5.0]]), 9)
        9.0

    Raises:
        ValueError: If a set has fewer than 2 windows or a value that is not finite, or dimensions differ.
    """
    means, covariances = [], []
    for name, windows in (("target", target), ("generated", generated)):
        array = np.asarray(windows, dtype=np.float64)
        if array.ndim != 2 or len(array) < 2:
            raise ValueError(f"{name} has shape {array.shape}; needs [windows, dim], 2 windows or more")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite")
        means.append(array.mean(axis=0))
        covariances.append(np.cov(array, rowvar=False).reshape(array.shape[1], array.shape[1]))
    if means[0].shape != means[1].shape:
        raise ValueError(f"target has dimension {len(means[0])}, generated {len(means[1])}")
    return float(gaussian_distance(means[0][None], covariances[0][None], means[1][None], covariances[1][None])[0])


def gaussian_distance(mean1: FloatArray, cov1: FloatArray, mean2: FloatArray, cov2: FloatArray) -> FloatArray:
    """Frechet distances of pairs of Gaussians: means `[pairs, dim]`, covariances `[pairs, dim, dim]`, to `[pairs]`."""
    eigenvalues, vectors = np.linalg.eigh(cov1)
    # Rounding turns zero eigenvalues of a rank-deficient covariance into small negative ones.
    root = (vectors * np.sqrt(np.clip(eigenvalues, 0, None))[:, None, :]) @ vectors.transpose(0, 2, 1)
    middle = root @ cov2 @ root
    cross = np.sqrt(np.clip(np.linalg.eigvalsh((middle + middle.transpose(0, 2, 1)) / 2), 0, None)).sum(axis=1)
    traces = np.trace(cov1, axis1=1, axis2=2) + np.trace(cov2, axis1=1, axis2=2)
    return np.asarray(np.clip(np.sum((mean1 - mean2) ** 2, axis=1) + traces - 2 * cross, 0, None), dtype=np.float64)


class ClipMoments:
    """Mean and covariance of a set of windows under any weighting of its clips.

    With clip i drawn c_i times: `N = sum c_i n_i`, `m = sum c_i s_i / N`,
    `C = (sum c_i S_i - N m m^T) / (N - 1)`, where n_i, s_i, S_i are the number, the sum and the sum of outer products
    of clip i's windows. They are formed once, so a replicate costs one small matrix product.

    Args:
        windows: `[windows, dim]`.
        window_clip: Clip of each window `[windows]`, from 0 to `n_clips - 1`.
        n_clips: Number of clips; clips without windows are allowed.
    """

    def __init__(self, windows: FloatArray, window_clip: NDArray[np.int64], n_clips: int) -> None:
        order = np.argsort(window_clip, kind="stable")
        self.windows, self.window_clip = windows[order], window_clip[order]
        self.n_windows = np.bincount(window_clip, minlength=n_clips).astype(np.float64)
        self.sums = np.zeros((n_clips, windows.shape[1]))
        np.add.at(self.sums, window_clip, windows)
        self.outer: FloatArray | None = None
        dim = windows.shape[1]
        if n_clips * dim**2 * 8 <= MAX_SUMS_BYTES:
            ends = np.cumsum(self.n_windows).astype(int)[:-1]
            self.outer = np.stack([(part.T @ part).reshape(-1) for part in np.split(self.windows, ends)])

    def fit(self, counts: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Numbers of windows `[draws]`, means `[draws, dim]` and covariances `[draws, dim, dim]` of weighted clips.

        Args:
            counts: How often each draw has each clip, `[draws, clips]`.
        """
        n_windows = counts @ self.n_windows
        usable = np.maximum(n_windows, 2.0)
        means = counts @ self.sums / usable[:, None]
        dim = means.shape[1]
        if self.outer is not None:
            outer = (counts @ self.outer).reshape(-1, dim, dim)
        else:
            weights = counts[:, self.window_clip]
            outer = np.stack([(self.windows * weight[:, None]).T @ self.windows for weight in weights])
        spread = outer - usable[:, None, None] * means[:, :, None] * means[:, None, :]
        return n_windows, means, spread / (usable - 1)[:, None, None]


def frechet_replicates(
    *, target: ClipMoments, generated: ClipMoments, target_counts: FloatArray, generated_counts: FloatArray
) -> FloatArray:
    """Frechet distance of each bootstrap draw `[draws]`; NaN where a draw has fewer than 2 windows on a side.

    Args:
        target: Moments of the reference clips.
        generated: Moments of the generated clips.
        target_counts: How often each draw has each reference clip `[draws, reference clips]`.
        generated_counts: How often each draw has each generated clip `[draws, clips]`.
    """
    distances = []
    for start in range(0, len(generated_counts), REPLICATES_AT_ONCE):
        draws = slice(start, start + REPLICATES_AT_ONCE)
        n1, mean1, cov1 = target.fit(target_counts[draws])
        n2, mean2, cov2 = generated.fit(generated_counts[draws])
        distance = gaussian_distance(mean1, cov1, mean2, cov2)
        distances.append(np.where(np.minimum(n1, n2) >= 2, distance, np.nan))
    return np.concatenate(distances) if distances else np.zeros(0)


def score(metric: str, inputs: ScoreInputs) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scores the set of clips against the set of references: the long table, and the settings.

    A reference shared by several captions is in the reference set once. In a replicate, clips and references are drawn
    together: a cluster (a reference with all its captions) brings its windows to both sides.
    """
    generated, target = embedding_pair(inputs)
    notes = merge_notes(("", failed_clips(inputs.manifest, source_of(inputs.manifest))), ("", generated.excluded))
    clip_ids = inputs.prompts["clip_id"].tolist()
    clusters = cluster_ids(inputs.prompts)
    kept = [clip_id for clip_id in clip_ids if clip_id not in notes]
    references = _one_clip_per_cluster(clip_ids, clusters, target)
    clips, reference_clips = WindowSet.of(generated, kept), WindowSet.of(target, references)
    settings = {
        "n_windows": len(clips.windows),
        "n_reference_windows": len(reference_clips.windows),
        "n_references": len(references),
    }
    if min(len(clips.windows), len(reference_clips.windows)) < 2:
        return set_table(metric, estimate=np.nan, replicates=[], notes=notes, absent=TOO_FEW), settings
    if clips.windows.shape[1] != reference_clips.windows.shape[1]:
        raise damaged(generated.path, f"the dimension of its windows is not that of {target.path}")
    replicates = np.zeros(0)
    if inputs.n_replicates:
        counts = resample_counts(clusters, inputs.n_replicates, inputs.seed).astype(np.float64)
        column = {clip_id: index for index, clip_id in enumerate(clip_ids)}
        # The distance does not move with the origin; a common one near the data keeps C = S - N m m^T exact.
        origin = reference_clips.windows.mean(axis=0)
        replicates = frechet_replicates(
            target=ClipMoments(reference_clips.windows - origin, reference_clips.clip, len(references)),
            generated=ClipMoments(clips.windows - origin, clips.clip, len(kept)),
            target_counts=counts[:, [column[clip_id] for clip_id in references]],
            generated_counts=counts[:, [column[clip_id] for clip_id in kept]],
        )
    estimate = frechet_distance(target=reference_clips.windows, generated=clips.windows)
    table = set_table(metric, estimate=estimate, replicates=replicates.tolist(), notes=notes, absent=f"{TOO_FEW} drawn")
    return table, settings


@dataclass(frozen=True)
class WindowSet:
    """Windows `[windows, dim]` of some clips, and the index of each window's clip among them `[windows]`."""

    windows: FloatArray
    clip: NDArray[np.int64]

    @classmethod
    def of(cls, embeddings: Embeddings, clip_ids: Sequence[str]) -> "WindowSet":
        """Takes the windows of these clips out of an embedding file."""
        row_of = embeddings.row_of()
        rows = np.array([row_of[clip_id] for clip_id in clip_ids], dtype=np.int64)
        index_of_row = np.full(len(embeddings.clip_ids), -1, dtype=np.int64)
        index_of_row[rows] = np.arange(len(rows))
        clip = index_of_row[embeddings.tensors["window_row"].astype(np.int64)]
        return cls(embeddings.tensors["windows"][clip >= 0].astype(np.float64), clip[clip >= 0])


def _one_clip_per_cluster(clip_ids: Sequence[str], clusters: Sequence[str], target: Embeddings) -> list[str]:
    """The first clip by name of each cluster that has a reference embedding: references without repetition."""
    embedded = target.row_of()
    first: dict[str, str] = {}
    for clip_id, cluster in sorted(zip(clip_ids, clusters, strict=True)):
        if clip_id in embedded:
            first.setdefault(cluster, clip_id)
    return list(first.values())
