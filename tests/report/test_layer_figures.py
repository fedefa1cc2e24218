import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from audioptq.files.artifacts import write_parquet
from audioptq.report.figures.draw import draw_figures
from audioptq.report.figures.layer_figures import LayerGrid, layer_grids, layers, place
from audioptq.report.page.details import layer_summary
from audioptq.report.run import gather

NAMES = [f"model.transformer.layers.{block}.{kind}" for block in range(3) for kind in ("self_attn.to_qkv", "ff.ff.2")]
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


def test_a_layer_has_a_block_and_a_kind():
    assert place("model.model.transformer.layers.11.self_attn.to_out") == (11, "self_attn.to_out")
    assert place("transformer.layers.0.ff.ff.2") == (0, "ff.ff.2")
    assert place("project_in") == (0, "project_in")


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
    layers(tmp_path / "a.svg", [LayerGrid("bits", {NAMES[1]: 0.25, NAMES[4]: 0.5}, 2), LayerGrid("n", {NAMES[0]: 7})])
    first, second = caught[0].axes
    cells = {text.get_text(): text.get_position() for text in first.texts}
    assert cells == {"0.25": (0.5, 0.5), "0.50": (2.5, 1.5)}
    assert [label.get_text() for label in first.get_yticklabels()] == ["ff.ff.2", "self_attn.to_qkv"]
    assert {text.get_text(): text.get_position() for text in second.texts} == {"7": (0.5, 1.5)}


def test_nothing_but_zeros_can_be_drawn(tmp_path):
    layers(tmp_path / "a.svg", [LayerGrid("bits", dict.fromkeys(NAMES, 0.0))])
    assert "nan" not in (tmp_path / "a.svg").read_text().lower()


def test_the_report_has_the_figure(make_run, tmp_path):
    inputs = make_run(tmp_path)
    write_parquet(tmp_path / "layers.parquet", TABLES["static"], {})
    inputs = dataclasses.replace(inputs, layers={"w4a4_sqs": tmp_path / "layers.parquet"})
    drawn = draw_figures(inputs, gather(inputs), tmp_path / "figures")
    assert drawn["layers"].path.is_file()
    assert drawn["layers"].alt == "What a smoothing vector per timestep could gain in each layer"


def test_a_recipes_box_counts_its_vectors():
    facts = dict(layer_summary(TABLES["grouped"])["facts"])
    assert facts["Smoothing vectors"] == "1 in 2 layers, 2 in 1 layers, 3 in 2 layers"
    assert "Smoothing vectors" not in dict(layer_summary(TABLES["static"])["facts"])
