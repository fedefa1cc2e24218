from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audioptq.errors import UserError
from audioptq.files.artifacts import read_parquet, write_parquet
from audioptq.score.table import COLUMNS, METRICS, MetricInfo, clip_table, metric_info, set_table, validate
from audioptq.score.usable import merge_notes


def test_every_clip_has_a_value_or_a_reason() -> None:
    table = clip_table("mcd_db", ["a", "b"], values={"a": 1.5}, notes={"b": "silent"})
    assert table["value"].tolist()[0] == 1.5
    assert np.isnan(table["value"][1])
    assert table["note"].tolist() == [None, "silent"]
    with pytest.raises(ValueError, match="either a value or a note"):
        clip_table("mcd_db", ["a", "b"], values={"a": 1.5}, notes={})
    with pytest.raises(ValueError, match="either a value or a note"):
        clip_table("mcd_db", ["a"], values={"a": 1.5}, notes={"a": "silent"})
    with pytest.raises(ValueError, match="either a value or a note"):
        clip_table("mcd_db", ["a"], values={"a": np.nan}, notes={})


def test_set_rows_are_the_estimate_the_replicates_and_the_clips_left_out() -> None:
    table = set_table("fd_mini", estimate=2.0, replicates=[1.0, np.nan], notes={"b": "silent"}, absent="too few")
    assert table["clip_id"].tolist() == [None, None, None, "b"]
    assert table["replicate"].tolist() == [pd.NA, 0, 1, pd.NA]
    assert table["note"].tolist() == [None, None, "too few", "silent"]


def test_survives_the_file_with_nulls_and_awkward_ids(tmp_path: Path) -> None:
    table = clip_table("lsd_db", ['a, "b"\n', "c"], values={"c": 3.0}, notes={'a, "b"\n': 'he said "no", twice'})
    write_parquet(tmp_path / "lsd_db.parquet", table, {"metric": "lsd_db"})
    back, _ = read_parquet(tmp_path / "lsd_db.parquet", columns=COLUMNS)
    assert back["clip_id"].tolist() == ['a, "b"\n', "c"]
    assert back["note"].tolist() == ['he said "no", twice', None]
    assert back["value"].isna().tolist() == [True, False]
    assert back["replicate"].isna().all()
    validate(back)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "nat"}, "its unit"),
        ({"target": "reference"}, "target of mcd_db"),
        ({"value": np.inf}, "infinite"),
        ({"clip_id": "a"}, "twice"),
    ],
)
def test_validate_refuses(change: dict[str, object], message: str) -> None:
    table = clip_table("mcd_db", ["a", "b"], values={"a": 1.0, "b": 2.0}, notes={})
    with pytest.raises(ValueError, match=message):
        validate(table.assign(**change))
    with pytest.raises(ValueError, match="columns"):
        validate(table.drop(columns="note"))


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'clap_mini'"):
        metric_info("clap_mimi")


def test_registry_agrees_with_itself() -> None:
    for metric, info in METRICS.items():
        assert info.embedder is not None or info.target == "fp32", metric
        assert info.is_distance == (info.target == "fp32") == (metric.endswith("_fp32") or info.embedder is None)
        assert metric.endswith("_db") == (info.unit == "dB")


def test_what_nothing_could_compute_or_judge_is_no_metric() -> None:
    with pytest.raises(ValueError, match="'fp16', which is none of reference, prompt, fp32, none"):
        MetricInfo("1", False, "fp16", "FD", "frechet.frechet")
    with pytest.raises(ValueError, match="of which less is better"):
        MetricInfo("1", True, "fp32", "CLAP score", "clap")


def test_the_first_reason_stands() -> None:
    assert merge_notes(("", {"a": "silent"}), ("fp32", {"a": "silent", "b": "silent"})) == {
        "a": "silent",
        "b": "fp32: silent",
    }
