import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from audioptq.files.artifacts import write_parquet
from audioptq.report.figures.draw import draw_figures
from audioptq.report.figures.layer_figures import LayerGrid, layer_grids, layer_title, layers, places_of
from audioptq.report.measure.results import gather
from audioptq.report.page.details import layer_summary

NAMES = [f"tower.{block}.{role}" for block in range(3) for role in ("a", "b")]
PLACES = {name: (str(row // 2), ("qkv", "ff_out")[row % 2]) for row, name in enumerate(NAMES)}
GROUPED = {"smoothing": {"kind": "grouped", "groups": "auto"}}


def table(rows, gap, share=0.25):
    return pd.DataFrame(
        {
            "layer": NAMES,
            "rows": rows,
            "smoothing_gap": pd.Series(gap, dtype=object),
            "interaction": pd.Series([share] * 6, dtype=object),
            "sqnr_db": np.linspace(20, 30, 6),
            "quantized": [bool(count) for count in rows],
        }
    )


TABLES = {
    "plain": table([0] * 6, [None] * 6, None),
    "grouped": table([1, 3, 1, 3, 0, 2], [0.1, 0.1, 0.1, 0.1, None, 0.1]),
    "static": table([1] * 6, [0.1, 0.4, 0.1, 0.4, 0.1, 0.3]),
    "also": table([1, 3, 1, 3, 0, 2], [0.1] * 6),
    "timestep": table([6] * 6, [0.0] * 6),
}
RECIPES = {"plain": None, "grouped": GROUPED, "static": {"smoothing": {"kind": "static"}}, "also": GROUPED}


@pytest.fixture
def caught(monkeypatch):
    """Figures as they were when saved."""
    found = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *given, **options: (found.append(self), save(self, *given, **options))
    )
    return found


def test_a_layer_is_placed_by_what_the_model_says_of_it():
    table = pd.DataFrame(
        {
            "layer": ["w.0", "w.1", "entry", "nameless", "left", "right", "empty"],
            "block": ["0", "1", None, "0", "0", "0", "0"],
            "role": ["qkv", "qkv", "in", None, "out", "out", ""],
        }
    )
    places = places_of([table, table.iloc[:1], table.drop(columns="role")])
    # Two layers of one block have the same role: a figure would put one over the other.
    assert places == {"w.0": ("0", "qkv"), "w.1": ("1", "qkv"), "entry": ("", "in")}
    assert [layer_title(name, places) for name in ("w.1", "entry", "left")] == ["qkv of block 1", "in", "left"]


def test_grids_are_of_the_calibration_and_of_each_way_of_grouping():
    share, gap, vectors = layer_grids(TABLES, RECIPES)
    assert share.values == dict.fromkeys(NAMES, 25.0)
    assert gap.values == dict(zip(NAMES, [0.1, 0.4, 0.1, 0.4, 0.1, 0.3], strict=True))
    assert vectors.title.endswith("grouped, also")
    assert vectors.values == dict(zip([*NAMES[:4], NAMES[5]], [1, 3, 1, 3, 2], strict=True))


def test_without_statistics_there_is_nothing_to_draw():
    assert layer_grids({"plain": TABLES["plain"]}, RECIPES) == []
    assert layer_grids({"old": pd.DataFrame({"layer": NAMES, "sqnr_db": 1.0})}, RECIPES) == []


def test_cells_stand_at_their_block_and_kind(tmp_path, caught):
    layers(
        tmp_path / "a.svg",
        [LayerGrid("bits", {NAMES[1]: 0.25, NAMES[4]: 0.5}, 2), LayerGrid("n", {NAMES[0]: 7})],
        PLACES,
    )
    first, second = caught[0].axes
    cells = {text.get_text(): text.get_position() for text in first.texts}
    assert cells == {"0.25": (0.5, 0.5), "0.50": (1.5, 1.5)}
    assert [label.get_text() for label in first.get_yticklabels()] == ["ff_out", "qkv"]
    assert [label.get_text() for label in first.get_xticklabels()] == ["0", "2"]
    assert {text.get_text(): text.get_position() for text in second.texts} == {"7": (0.5, 1.5)}


def test_a_layer_without_a_role_goes_by_its_name(tmp_path, caught):
    layers(tmp_path / "a.svg", [LayerGrid("bits", {NAMES[1]: 0.25, "project_in": 0.5}, 2)], PLACES)
    (axes,) = caught[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ff_out", "project_in"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "\N{EN DASH}"]


def test_nothing_but_zeros_can_be_drawn(tmp_path):
    layers(tmp_path / "a.svg", [LayerGrid("bits", dict.fromkeys(NAMES, 0.0))], PLACES)
    assert "nan" not in (tmp_path / "a.svg").read_text().lower()


def test_the_report_has_the_figure(make_run, tmp_path):
    inputs = make_run(tmp_path)
    write_parquet(tmp_path / "layers.parquet", TABLES["static"], {})
    inputs = dataclasses.replace(inputs, layers={"w4a4_sqs": tmp_path / "layers.parquet"})
    drawn = draw_figures(inputs, gather(inputs), tmp_path / "figures")
    assert drawn["layers"].path.is_file()
    assert drawn["layers"].alt == "What a smoothing vector per timestep could gain in each layer"


def test_a_recipes_box_counts_its_vectors():
    facts = dict(layer_summary(TABLES["grouped"], GROUPED)["facts"])
    assert facts["Smoothing vectors"] == "1 in 2 layers, 2 in 1 layers, 3 in 2 layers"
    assert "Smoothing vectors" not in dict(layer_summary(TABLES["static"], GROUPED)["facts"])
