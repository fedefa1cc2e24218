"""Scripts are functions that can be called without Snakemake."""

from pathlib import Path

import numpy as np
import pandas as pd

from audioptq.audio.clips import write_clip
from audioptq.files.artifacts import read_parquet, write_parquet
from scripts.prompts import write_prompts
from scripts.score import score

CSV = {"kind": "csv", "columns": {"clip_id": "id", "caption": "text"}, "seconds_total": 1.0}


def test_prompts_are_written_with_their_data_set(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,rain\n2,a dog\n3,wind\n")
    dataset, lines = CSV | {"path": str(tmp_path / "a.csv")}, []
    paths = {f"{name}_path": str(tmp_path / f"{name}.parquet") for name in ("evaluation", "calibration")}
    write_prompts("a", dataset, {"n_prompts": 2, "seed": 0}, **paths, log=lines.append)
    table, metadata = read_parquet(paths["evaluation_path"])
    assert table["caption"].tolist() == ["rain", "a dog", "wind"]
    assert metadata["dataset"] == "a"
    assert len(read_parquet(paths["calibration_path"])[0]) == 2
    assert lines == ["3 prompts, 2 for calibration"]


def test_one_call_scores_every_metric_into_a_file_of_its_own(tmp_path: Path) -> None:
    rng, lines = np.random.default_rng(0), []
    audio = {name: rng.standard_normal((1, 22050)) * 0.1 for name in ("fp32", "recipe")}
    for name, samples in audio.items():
        clip = write_clip(tmp_path / f"{name}.flac", samples, 44100, 24)
        row = {"clip_id": "a", "caption": "rain", "seed": 1, "path": f"{name}.flac", "sample_rate": 44100}
        row |= {"n_samples": 22050, "gain": 1.0, "status": clip.status}
        write_parquet(tmp_path / f"{name}.parquet", pd.DataFrame([row]), {"recipe": name})
    write_parquet(tmp_path / "prompts.parquet", pd.DataFrame([{"clip_id": "a", "reference_id": "a"}]), {})
    outputs = {metric: str(tmp_path / f"scores/{metric}.parquet") for metric in ("lsd_db", "mcd_db")}
    inputs = {
        "prompts": str(tmp_path / "prompts.parquet"),
        "manifests": [str(tmp_path / "recipe.parquet")],
        "baseline": [str(tmp_path / "fp32.parquet")],
    }
    bootstrap = {"replicates": 100, "seed": 0}
    score(outputs, inputs, bootstrap=bootstrap, across_seeds=False, names={"recipe": "recipe"}, log=lines.append)
    for metric, path in outputs.items():
        table, metadata = read_parquet(path)
        assert (metadata["metric"], metadata["recipe"]) == (metric, "recipe")
        assert table["value"].iloc[0] > 0
    assert lines == [f"{metric}: 1 of 1 clips scored" for metric in outputs]
