"""Clip by clip comparison of a recipe's audio with full precision's, both as they were before their gain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audioptq.audio.clips import ListedClip
from audioptq.audio.manifest import SILENT, failed_clips, source_of
from audioptq.console import progress
from audioptq.errors import DamagedArtifactError
from audioptq.score.inputs import ScoreInputs
from audioptq.score.spectra import CepstralSettings, ClipPair
from audioptq.score.table import clip_table
from audioptq.score.usable import damaged, merge_notes

FloatArray = NDArray[np.float64]
Distance = Callable[[ClipPair], tuple[float, dict[str, float]]]


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


def score_pairs(
    distances: Mapping[str, Distance], inputs: ScoreInputs
) -> dict[str, tuple[pd.DataFrame, dict[str, Any]]]:
    """Compares each clip with full precision's clip of the same id; each is read once, however many distances are asked for.

    Args:
        distances: By metric id, the function of a pair: its value, and further numbers whose means go into the metadata.
        inputs: With both manifests.

    Returns:
        By metric, the long table and the settings.

    Raises:
        DamagedArtifactError: If the two manifests disagree about a clip, or a file is not what its manifest says.
    """
    if inputs.baseline is None:
        raise ValueError("a distance between clips needs full precision's manifest")
    sources = source_of(inputs.baseline, "full precision's manifest"), source_of(inputs.manifest)
    notes = merge_notes(("", failed_clips(inputs.manifest)), ("fp32", failed_clips(inputs.baseline)))
    rows = [{row.clip_id: row for row in manifest.itertuples()} for manifest in (inputs.baseline, inputs.manifest)]
    clip_ids = inputs.prompts["clip_id"].tolist()
    scored = [clip_id for clip_id in clip_ids if clip_id not in notes]
    values: dict[str, dict[str, float]] = {metric: {} for metric in distances}
    further: dict[str, list[dict[str, float]]] = {metric: [] for metric in distances}
    for clip_id in progress(scored, f"score {', '.join(distances)}", total=len(scored), unit="clip"):
        pair = _read_pair(rows[0][clip_id], rows[1][clip_id], sources, inputs.across_seeds)
        if isinstance(pair, str):
            notes[clip_id] = pair
            continue
        for metric, distance in distances.items():
            values[metric][clip_id], numbers = distance(pair)
            further[metric].append(numbers)
    settings = settings_of(inputs)
    return {
        metric: (
            clip_table(metric, clip_ids, values=values[metric], notes=notes),
            {**settings, **_means(further[metric])},
        )
        for metric in distances
    }


def _read_pair(target: Any, generated: Any, sources: tuple[str, str], across_seeds: bool) -> ClipPair | str:
    """The audio of two rows, or a note where one is silent."""
    check_same_clip(target, generated, sources=(sources[1], sources[0]), across_seeds=across_seeds)
    audio = read_original(target, sources[0]), read_original(generated, sources[1])
    if audio[0].shape != audio[1].shape:
        raise damaged(
            generated.path, f"it has {len(audio[1])} channels, full precision's {target.path} {len(audio[0])}"
        )
    if not audio[1].any():
        return SILENT
    if not audio[0].any():
        return f"fp32: {SILENT}"
    settings = CepstralSettings.for_sample_rate(int(target.sample_rate))
    return ClipPair(target=audio[0], generated=audio[1], settings=settings)


def _means(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([record[key] for record in records])) for key in (records[0] if records else ())}


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
                f"{sources[1]}, but a recipe is compared with full precision's clip of the same prompt and seed. "
                "Give full precision's manifest of the same seed, or run the generate stage again for the wrong one."
            )


def settings_of(inputs: ScoreInputs) -> dict[str, Any]:
    """The analysis settings in use, one record per sample rate, and whether the pairs differ in their noise."""
    rates = sorted({int(rate) for rate in inputs.manifest["sample_rate"]})
    records = [asdict(CepstralSettings.for_sample_rate(rate)) for rate in rates]
    return {"cepstral_settings": records, "across_seeds": inputs.across_seeds}
