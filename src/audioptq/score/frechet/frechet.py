"""Fréchet distance between the embedding windows of generated and of other audio, with bootstrap replicates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from audioptq.audio.manifest import failed_clips
from audioptq.score.bootstrap import cluster_ids, draw_counts
from audioptq.score.embeddings import STATISTICS, Embeddings
from audioptq.score.frechet.bootstrap_exact import ClipMoments, frechet_replicates, gaussian_distance, is_cheap
from audioptq.score.frechet.bootstrap_linear import linearised_replicates
from audioptq.score.frechet.fd_infinity import fd_infinity
from audioptq.score.frechet.windows import FloatArray, Gaussian, WindowSet
from audioptq.score.inputs import ScoreInputs, embedding_pair
from audioptq.score.table import metric_info, set_table
from audioptq.score.usable import damaged, merge_notes

WINDOWS = ("windows", "window_row")
TENSORS = {"generated": (WINDOWS,), "target": (WINDOWS, STATISTICS)}
TOO_FEW = "fewer than 2 windows"


def frechet_distance(*, target: ArrayLike, generated: ArrayLike) -> float:
    """Fréchet distance between Gaussian fits of two sets of windows; lower is better, 0 for equal sets.

    `d2 = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2`, covariances with ddof = 1

    d2 itself is the published "FD" and "FAD", not its root.

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
    fits = []
    for name, windows in (("target", target), ("generated", generated)):
        array = np.asarray(windows)
        if array.ndim != 2 or len(array) < 2:
            raise ValueError(f"{name} has shape {array.shape}; needs [windows, dim], 2 windows or more")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite")
        fits.append(WindowSet.whole(array).gaussian())
    if fits[0].mean.shape != fits[1].mean.shape:
        raise ValueError(f"target has dimension {len(fits[0].mean)}, generated {len(fits[1].mean)}")
    return distance_of(*fits)


def distance_of(target: Gaussian, generated: Gaussian) -> float:
    """Fréchet distance between two Gaussians."""
    moments = (array[None] for fit in (target, generated) for array in (fit.mean, fit.covariance))
    return float(gaussian_distance(*moments)[0])


@dataclass(frozen=True)
class Reference:
    """What the clips are compared with: windows of reference or other clips, or published statistics, which have no clips.

    Attributes:
        fit: Its Gaussian; None where it has fewer than 2 windows.
        windows: Its windows; None for statistics.
        clip_ids: A clip for each reference; empty for statistics.
    """

    fit: Gaussian | None
    windows: WindowSet | None
    clip_ids: list[str]

    @classmethod
    def of(cls, target: Embeddings, clip_ids: Sequence[str], clusters: Sequence[str]) -> "Reference":
        """Takes the references out of an embedding file, one that several captions share only once."""
        if not target.has_clips:
            return cls(Gaussian.of_statistics(target), None, [])
        return cls.of_clips(target, _one_clip_per_cluster(clip_ids, clusters, target))

    @classmethod
    def of_clips(cls, target: Embeddings, clip_ids: list[str]) -> "Reference":
        """Takes these clips out of an embedding file."""
        windows = WindowSet.of(target, clip_ids)
        return cls(windows.gaussian() if len(windows) > 1 else None, windows, clip_ids)

    @property
    def dim(self) -> int | None:
        """Dimension of its windows."""
        if self.windows is not None:
            return self.windows.dim
        return None if self.fit is None else len(self.fit.mean)

    def settings(self) -> dict[str, Any]:
        """Numbers of windows and references, None where the publication does not say, and whether draws change them."""
        if self.windows is None:
            n_windows = None if self.fit is None else self.fit.n_windows
            return {"n_reference_windows": n_windows, "n_references": None, "reference_in_bootstrap": "fixed"}
        counted = {"n_reference_windows": len(self.windows), "n_references": len(self.clip_ids)}
        return {**counted, "reference_in_bootstrap": "drawn with its clips"}


def score(metric: str, inputs: ScoreInputs) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scores the set of clips against the set of references: the long table, and the settings.

    A reference shared by several captions is in the reference set once. In a replicate, clips and references are drawn
    together: a cluster (a reference with all its captions) brings its windows to both sides. Published statistics are
    not drawn: then the interval covers the choice of clips alone.

    Full precision's clips are those of the same prompts: a clip that either side lacks is in neither set, and both sides
    of a clip are drawn together.
    """
    generated, target = embedding_pair(inputs)
    is_paired = metric_info(metric).is_distance
    notes = merge_notes(
        ("", failed_clips(inputs.manifest)), ("", generated.excluded), ("fp32", target.excluded if is_paired else {})
    )
    clip_ids = inputs.prompts["clip_id"].tolist()
    clusters = cluster_ids(inputs.prompts)
    kept = [clip_id for clip_id in clip_ids if clip_id not in notes]
    clips = WindowSet.of(generated, kept)
    reference = Reference.of_clips(target, kept) if is_paired else Reference.of(target, clip_ids, clusters)
    settings: dict[str, Any] = {"n_windows": len(clips), "dim": clips.dim, **reference.settings(), "bootstrap": None}
    if len(clips) < 2 or reference.fit is None:
        return set_table(metric, estimate=np.nan, replicates=[], notes=notes, absent=TOO_FEW), settings
    if clips.dim != reference.dim:
        raise damaged(
            generated.path, f"the dimension of its windows is {clips.dim}, that of {target.path} {reference.dim}"
        )
    fits = reference.fit, clips.gaussian()
    estimate, replicates = distance_of(*fits), np.zeros(0)
    if is_paired and clips.equals(reference.windows):
        # Exactly 0 however the clips are drawn, which the rounding of eigenvalues would miss.
        estimate, replicates = 0.0, np.zeros(inputs.n_replicates)
    elif inputs.n_replicates:
        counts = draw_counts(clusters, inputs.n_replicates, inputs.seed).astype(np.float64)
        column = {clip_id: index for index, clip_id in enumerate(clip_ids)}
        drawn = [counts[:, [column[clip_id] for clip_id in ids]] for ids in (reference.clip_ids, kept)]
        n_references = len(clip_ids) if is_paired else len(reference.clip_ids)
        cheap = is_cheap(len(clip_ids) + n_references, clips.dim, inputs.n_replicates)
        settings["bootstrap"] = "refitted" if cheap else "linearised"
        if cheap:
            refitted = _refitted(reference, fits[0], clips)
            replicates = refitted(*drawn)
            settings |= _extrapolated(
                refitted,
                clusters,
                [[column[clip_id] for clip_id in ids] for ids in (reference.clip_ids, kept)],
                inputs.seed,
            )
        else:
            replicates = linearised_replicates(
                estimate,
                target=fits[0] if reference.windows is None else reference.windows,
                generated=clips,
                target_counts=drawn[0],
                generated_counts=drawn[1],
                fits=fits,
            )
    table = set_table(metric, estimate=estimate, replicates=replicates.tolist(), notes=notes, absent=f"{TOO_FEW} drawn")
    return table, settings


def _refitted(reference: Reference, fit: Gaussian, clips: WindowSet) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Distances from the moments of each draw, by the counts of references and of clips; `fit` is the reference's."""
    # The distance does not move with the origin; a common one near the data keeps C = S - N m m^T exact.
    origin = fit.mean
    target: ClipMoments | Gaussian = Gaussian(None, np.zeros_like(origin), fit.covariance)
    if reference.windows is not None:
        target = _moments(reference.windows, origin)
    generated = _moments(clips, origin)
    return lambda target_counts, counts: frechet_replicates(
        target=target, generated=generated, target_counts=target_counts, generated_counts=counts
    )


def _extrapolated(
    refitted: Callable[[FloatArray, FloatArray], FloatArray],
    clusters: Sequence[str],
    columns: Sequence[Sequence[int]],
    seed: int,
) -> dict[str, Any]:
    """`fd_inf`, the distance at infinitely many clips, and `fd_bias`, how far the one at hand lies above it; None where too few."""
    names, cluster_of_clip = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)

    def distances(subsets: FloatArray) -> FloatArray:
        of_clip = subsets[:, cluster_of_clip]
        return refitted(*(of_clip[:, own] for own in columns))

    found = fd_infinity(distances, len(names), seed)
    return {"fd_inf": found and found.value, "fd_bias": found and found.bias}


def _moments(windows: WindowSet, origin: FloatArray) -> ClipMoments:
    array, clip = windows.array()
    return ClipMoments(array - origin, clip, windows.n_clips)


def _one_clip_per_cluster(clip_ids: Sequence[str], clusters: Sequence[str], target: Embeddings) -> list[str]:
    """The first clip by name of each cluster that has a reference embedding: references without repetition."""
    embedded = target.row_of()
    first: dict[str, str] = {}
    for clip_id, cluster in sorted(zip(clip_ids, clusters, strict=True)):
        if clip_id in embedded:
            first.setdefault(cluster, clip_id)
    return list(first.values())
