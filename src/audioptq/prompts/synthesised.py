"""Prompts and references of the embedded data set: scenes drawn from the soundscape synthesiser."""

from pathlib import Path

import pandas as pd

from audioptq.audio.clips import clip_file_name, write_clip
from audioptq.console import progress
from audioptq.prompts.table import validate
from audioptq.soundscapes import CLASSES, SAMPLE_RATE_HZ, Scene, draw_scene, render

BIT_DEPTH = 24


def soundscape_prompts(
    n_clips: int, *, split: str, seed: int, seconds_total: float, audio_dir: str | Path, kind: str | None = None
) -> pd.DataFrame:
    """Draws scenes of a split and renders each as its caption's reference.

    Single events take the classes in turn, so that no class is missing by chance; four fifths of the scenes are single.

    Args:
        n_clips: Scenes.
        split: `evaluation` or `calibration`; their captions are disjoint from each other and from training's.
        seed: Of the draws.
        seconds_total: Length of the scenes, seconds.
        audio_dir: Folder for the references.
        kind: Only `single`, `while` or `followed_by` scenes; null draws a mixture.
    """
    rows = []
    for index in progress(range(n_clips), f"render {split} references", unit="clip"):
        scene = _draw(index, split, seed, seconds_total, kind)
        clip_id = f"{split}-{seed}-{index:05d}"
        path = Path(audio_dir) / clip_file_name(clip_id)
        clip = write_clip(path, render(scene)[None], SAMPLE_RATE_HZ, BIT_DEPTH)
        rows.append(
            {
                "clip_id": clip_id,
                "caption": scene.caption,
                "reference_id": clip_id,
                "reference_path": str(path),
                "reference_sha256": clip.sha256,
                "seconds_total": seconds_total,
                "kind": scene.kind,
                "labels": "|".join(scene.labels),
            }
        )
    return validate(pd.DataFrame(rows), f"The soundscape split {split}")


def _draw(index: int, split: str, seed: int, seconds_total: float, kind: str | None) -> Scene:
    scene = draw_scene(index, split=split, seed=seed, kind=kind, seconds_total=seconds_total)
    if scene.kind != "single":
        return scene
    label = CLASSES[index % len(CLASSES)]
    return draw_scene(index, split=split, seed=seed, kind="single", label=label, seconds_total=seconds_total)
