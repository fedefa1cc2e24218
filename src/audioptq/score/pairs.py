"""Clip by clip comparison of a recipe's audio with the baseline's, both as they were before their gain."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audioptq.audio.clips import ListedClip
from audioptq.audio.manifest import source_of
from audioptq.console import progress
from audioptq.errors import DamagedArtifactError
from audioptq.score.inputs import ScoreInputs
from audioptq.score.spectra import CepstralSettings
from audioptq.score.usable import damaged, failed_clips, merge_notes

FloatArray = NDArray[np.float64]
PairMetric = Callable[..., float]


def read_original(clip: Any, source: str) -> FloatArray:
    """Reads a clip of a manifest and undoes its gain: `[channels, samples]`, float64.

    Args:
        clip: Row of the manifest, with `path`, `sample_rate`, `n_samples` and `gain` (stored = original * gain).
        source: The manifest, for error texts.

    Raises:
        DamagedArtifactError: If the file cannot be read or is not the one that the manifest describes.
    """
    stored, sample_rate = ListedClip.of(clip._asdict()).read()
    found = f"{stored.shape[1]} samples at {sample_rate} Hz"
    listed = f"{clip.n_samples} samples at {clip.sample_rate} Hz"
    if found != listed:
        raise damaged(clip.path, f"it has {found} where {source} says {listed}")
    if not (np.isfinite(clip.gain) and clip.gain > 0):
        raise damaged(source, f"the gain of clip {clip.clip_id!r} is {clip.gain}, not a positive number")
    return stored.astype(np.float64) / clip.gain


def score_pairs(metric: str, inputs: ScoreInputs, compare: PairMetric) -> tuple[dict[str, float], dict[str, str]]:
    """Compares each clip with the baseline's clip of the same id: values, and notes for clips that have none.

    Args:
        metric: Metric id, for the progress line.
        inputs: With both manifests.
        compare: Metric with the keywords `target`, `generated` and `settings`.

    Raises:
        DamagedArtifactError: If the two manifests disagree about a clip, or a file is not what its manifest says.
    """
    if inputs.baseline is None:
        raise ValueError(f"{metric} needs the baseline's manifest")
    sources = source_of(inputs.manifest), source_of(inputs.baseline, "the baseline's manifest")
    notes = merge_notes(
        ("", failed_clips(inputs.manifest, sources[0])), ("baseline", failed_clips(inputs.baseline, sources[1]))
    )
    generated_rows = {row.clip_id: row for row in inputs.manifest.itertuples()}
    target_rows = {row.clip_id: row for row in inputs.baseline.itertuples()}
    scored = [clip_id for clip_id in inputs.prompts["clip_id"] if clip_id not in notes]
    values: dict[str, float] = {}
    for clip_id in progress(scored, f"score {metric}", total=len(scored), unit="clip"):
        rows = target_rows[clip_id], generated_rows[clip_id]
        check_same_clip(*rows, sources=sources, across_seeds=inputs.across_seeds)
        target, generated = read_original(rows[0], sources[1]), read_original(rows[1], sources[0])
        if target.shape != generated.shape:
            raise damaged(rows[1].path, f"it has {len(generated)} channels, the baseline {rows[0].path} {len(target)}")
        silent = [name for name, audio in (("silent", generated), ("baseline: silent", target)) if not audio.any()]
        if silent:
            notes[clip_id] = silent[0]
            continue
        settings = CepstralSettings.for_sample_rate(int(rows[0].sample_rate))
        values[clip_id] = compare(target=target, generated=generated, settings=settings)
    return values, notes


def check_same_clip(target: Any, generated: Any, *, sources: tuple[str, str], across_seeds: bool) -> None:
    """Refuses pairs that differ in more than the recipe (or, across seeds, the noise).

    Raises:
        DamagedArtifactError: If caption, sample rate, number of samples or, unless `across_seeds`, the seed differ.
    """
    for column in ("caption", "sample_rate", "n_samples", *(() if across_seeds else ("seed",))):
        values = getattr(generated, column), getattr(target, column)
        if values[0] != values[1]:
            raise DamagedArtifactError(
                f"Clip {generated.clip_id!r} has {column} {values[0]!r} in {sources[0]} and {values[1]!r} in "
                f"{sources[1]}, but a recipe is compared with the baseline's clip of the same prompt and seed. "
                "Give the baseline's manifest of the same seed, or run the generate stage again for the wrong one."
            )


def settings_of(inputs: ScoreInputs) -> dict[str, Any]:
    """The analysis settings in use, one record per sample rate, and whether the pairs differ in their noise."""
    rates = sorted({int(rate) for rate in inputs.manifest["sample_rate"]})
    records = [asdict(CepstralSettings.for_sample_rate(rate)) for rate in rates]
    return {"cepstral_settings": records, "across_seeds": inputs.across_seeds}
