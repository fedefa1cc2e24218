"""The JSON of the main numbers: what is there, and nothing that JSON cannot say."""

import json

import pandas as pd
import pytest

from audioptq.report.measure.table import main_numbers

TABLE = pd.DataFrame(
    {
        "recipe": ["fp32", "w8a8"],
        "weight_bits": [32, 8],
        "lsd_db": [0.0, 4.5],
        "lsd_db_low": [0.0, 4.0],
        "fd_mini": [16.5, float("nan")],
        "size_ratio": [1.0, 0.25],
        "seconds_per_clip": [0.5, float("nan")],
    }
)


def test_every_recipe_has_its_numbers_and_empty_cells_have_none() -> None:
    assert main_numbers(TABLE, ["lsd_db", "fd_mini"]) == {
        "fp32": {"lsd_db": 0.0, "fd_mini": 16.5, "size_ratio": 1.0, "seconds_per_clip": 0.5},
        "w8a8": {"lsd_db": 4.5, "size_ratio": 0.25},
    }


def test_the_report_writes_them(built) -> None:
    _, folder = built
    numbers = json.loads((folder / "metrics.json").read_text())
    table = pd.read_csv(folder / "table.csv").set_index("recipe")
    assert list(numbers) == list(table.index)
    assert numbers["w8a8_sqd"]["clap_mini"] == pytest.approx(table.loc["w8a8_sqd", "clap_mini"])
    assert numbers["w8a8_sqd"]["size_ratio"] == pytest.approx(table.loc["w8a8_sqd", "size_ratio"])
