"""The data sets that a config can name: `soundscapes`, drawn from the synthesiser, and `csv`, a file of captions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.prompts.choose import check_expected, named_subset, with_reference
from audioptq.prompts.csv_file import csv_prompts, read_table
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
    random subset of all of them, as in the audio-DiT paper, whatever is evaluated; evaluation's are all, or those of the
    named `subset`, or those with reference audio (`available_only`), and of these the first `max_clips` by chance.

    Args:
        dataset: An entry of the config's `datasets`. `expect` counts what `subset` leaves.
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


def csv_rows(dataset: Mapping[str, Any]) -> pd.DataFrame:
    """The evaluation prompts of a CSV file with every column of the file, as text.

    Returns:
        A row per prompt, in order: the file's columns, under their names there.
    """
    prompts, _ = _from_csv(dataset)
    table = read_table(dataset["path"], dataset["columns"], dataset.get("sha256"))
    return table.set_index(dataset["columns"]["clip_id"], drop=False).loc[prompts["clip_id"]].reset_index(drop=True)


def _from_csv(dataset: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The prompts to evaluate, and all of the file."""
    everything = csv_prompts(
        dataset["path"], dataset["columns"], dataset["seconds_total"], dataset.get("reference_dir"), dataset.get("sha256")
    )  # fmt: skip
    subset, max_clips = dataset.get("subset"), dataset.get("max_clips")
    evaluation = everything if subset is None else named_subset(everything, subset)
    check_expected(evaluation, dataset.get("expect") or {}, f"The prompt file {dataset['path']}")
    if dataset.get("available_only"):
        evaluation = with_reference(evaluation)
    if max_clips is None or max_clips >= len(evaluation):
        return evaluation, everything
    return random_subset(evaluation, max_clips, 0), everything
