"""The data sets that a config can name: `soundscapes`, drawn from the synthesiser, and `csv`, a file of captions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.prompts.csv_file import csv_prompts
from audioptq.prompts.table import random_subset


def count_clips(dataset: Mapping[str, Any]) -> int:
    """Clips that will be generated; reads and checks a CSV file, so that a bad one is found before any job starts.

    Raises:
        UserError: If the file is not one of valid prompts.
    """
    return int(dataset["n_clips"]) if dataset["kind"] == "soundscapes" else len(_from_csv(dataset)[0])


def make_prompts(
    dataset: Mapping[str, Any], calibration: Mapping[str, Any], audio_dir: str | Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The evaluation prompts and the calibration prompts of a data set.

    Soundscapes draw the two from splits whose captions are disjoint. A CSV file has one set of captions: calibration's are a
    random subset of all of them, as in the audio-DiT paper, and evaluation's are all, or the first `max_clips` by chance.

    Args:
        dataset: An entry of the config's `datasets`.
        calibration: `n_prompts` and `seed`.
        audio_dir: Folder for references that are synthesised.
    """
    if dataset["kind"] == "csv":
        evaluation, everything = _from_csv(dataset)
        return evaluation, random_subset(everything, calibration["n_prompts"], calibration["seed"])
    from audioptq.prompts.synthesised import soundscape_prompts

    common = {"seconds_total": dataset["seconds_total"], "audio_dir": audio_dir}
    evaluation = soundscape_prompts(dataset["n_clips"], split="evaluation", seed=dataset["seed"], **common)
    subset = soundscape_prompts(calibration["n_prompts"], split="calibration", seed=calibration["seed"], **common)
    return evaluation, subset


def _from_csv(dataset: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    everything = csv_prompts(
        dataset["path"], dataset["columns"], dataset["seconds_total"], dataset.get("reference_dir")
    )  # fmt: skip
    max_clips = dataset.get("max_clips")
    if max_clips is None or max_clips >= len(everything):
        return everything, everything
    return random_subset(everything, max_clips, 0), everything
