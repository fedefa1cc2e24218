import dataclasses
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import read_tensors, write_tensors
from audioptq.report.figures import activation_figures
from audioptq.report.figures import table_figures as figures
from audioptq.report.figures.draw import draw_figures
from audioptq.report.figures.style import SIGMA, place_labels
from audioptq.report.measure.aggregate import Estimate
from audioptq.report.measure.results import gather
from audioptq.score.table import METRICS


def lines_of(axes):
    return [line.get_ydata() for line in axes.lines]


@pytest.fixture
def caught(monkeypatch):
    """Figures as they were when saved, to look at what was drawn rather than at its outlines."""
    found = []
    save = Figure.savefig

    def keep(self, *arguments, **options):
        found.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


def test_figures_are_whole_svg(built):
    folder = built[1] / "figures"
    names = sorted(path.stem for path in folder.iterdir())
    assert names == ["activation_map", "activation_range", "differences", "quality_against_size", "smoothing"]
    for path in folder.iterdir():
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
        assert root.get("viewBox")


def test_range_is_min_to_max_and_median_of_absmax(tmp_path, caught):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 7))
    ranges = {"min": values - 1, "max": values + 1, "absmax": np.abs(values) + 1}
    activation_figures.activation_range(tmp_path / "a.svg", np.array([9.0, 7.0, 5.0, 3.0, 1.0]), ranges, "blocks.0")
    axes = caught[0].axes[0]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(ranges["min"].min())
    assert band.max() == pytest.approx(ranges["max"].max())
    np.testing.assert_allclose(lines_of(axes)[0], np.median(ranges["absmax"], axis=1))
    assert [text.get_text() for text in axes.get_xticklabels()] == ["9", "7", "5", "3", "1"]
    assert axes.get_xlabel() == "noise level \N{GREEK SMALL LETTER SIGMA} (denoising runs to the right)"


@pytest.mark.parametrize(
    ("said", "name"),
    [({"level_name": "time"}, "time"), ({"objective": "eps"}, "timestep"), ({"objective": "v"}, SIGMA), ({}, SIGMA)],
)
def test_levels_are_called_what_the_calibration_calls_them(built, tmp_path, caught, said, name):
    tensors, _ = read_tensors(built[0].act_stats, framework="np")
    write_tensors(tmp_path / "act_stats.safetensors", tensors, said)
    inputs = dataclasses.replace(built[0], act_stats=tmp_path / "act_stats.safetensors")
    drawn = draw_figures(inputs, gather(inputs), tmp_path)
    assert caught[0].axes[0].get_xlabel() == f"noise level {name} (denoising runs to the right)"
    assert f" at {name} = 0.72 " in drawn["activation_map"].caption


def test_map_states_layer_and_sigma(tmp_path, caught):
    matrix = np.arange(12.0).reshape(3, 4) - 5
    metadata = {"layer": "blocks.3.qkv", "sigma": 0.725, "step": 12, "n_steps": 20}
    place = activation_figures.where(metadata, "qkv of block 3")
    activation_figures.activation_map(tmp_path / "a.svg", matrix, place)
    top, axes = caught[0].axes[:2]
    assert top.get_title(loc="left").endswith("qkv of block 3 at \N{GREEK SMALL LETTER SIGMA} = 0.725 (step 12 of 20)")
    assert activation_figures.where({"level": 500}, "qkv", "timestep") == "qkv at timestep = 500"
    np.testing.assert_array_equal(axes.images[0].get_array(), np.abs(matrix))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("input channel", "token")


def test_smoothing_follows_equation_3(tmp_path, caught):
    rng = np.random.default_rng(1)
    activation, weight = rng.normal(size=(9, 6)) * [1, 1, 30, 1, 1, 1], rng.normal(size=(4, 6))
    activation_figures.smoothing(tmp_path / "a.svg", activation, weight, 0.5, "a layer")
    smooth_scale = np.sqrt(np.abs(activation).max(0) / np.abs(weight).max(0))
    drawn = [lines_of(axes)[0] for axes in caught[0].axes]
    expected = (activation, weight, activation / smooth_scale, weight * smooth_scale)
    for got, matrix in zip(drawn, expected, strict=True):
        np.testing.assert_allclose(got, np.median(np.abs(matrix), axis=0))
    # At alpha 1/2 both maxima become sqrt(absmax(X) absmax(W)), the one number that both panels then share.
    assert caught[0].axes[2].get_ylim() == pytest.approx(caught[0].axes[3].get_ylim())


def test_smoothing_survives_a_dead_channel(tmp_path):
    activation, weight = np.ones((3, 2)) * [1, 0], np.ones((2, 2))
    activation_figures.smoothing(tmp_path / "a.svg", activation, weight, 0.5, "a layer")
    assert "nan" not in (tmp_path / "a.svg").read_text().lower()


@pytest.mark.parametrize("matrix", [np.zeros(3), np.zeros((0, 3)), np.array([[1.0, np.nan]])])
def test_bad_activation_map_is_a_users_mistake(tmp_path, matrix):
    with pytest.raises(UserError, match="activation of the activation map"):
        activation_figures.activation_map(tmp_path / "a.svg", matrix, "a layer")


def test_weight_of_another_layer_is_refused(tmp_path):
    with pytest.raises(UserError, match="3 channels and the weight 4"):
        activation_figures.smoothing(tmp_path / "a.svg", np.ones((2, 3)), np.ones((2, 4)), 0.5, "a layer")


def size_table():
    return pd.DataFrame(
        {
            "recipe": ["fp32", "w$8_x$"],
            "compute": ["float", "integer"],
            "size_bytes": pd.array([40_000_000, 10_000_000], dtype="Int64"),
            "fd_mini": [3.0, 4.0],
            "fd_mini_low": [3.2, 3.5],
            "fd_mini_high": [3.4, 4.5],
        }
    )


def test_quality_against_size_shows_values_floor_and_baseline(tmp_path, caught):
    metrics = {"fd_mini": METRICS["fd_mini"]}
    floors = {"fd_mini": Estimate(0.2, -0.1, 0.5)}
    figures.quality_against_size(tmp_path / "a.svg", size_table(), metrics, floors, "fp32")
    axes = caught[0].axes[0]
    points = sorted(
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines if len(line.get_xdata()) == 1
    )
    assert points == [(10.0, 4.0), (40.0, 3.0)]
    band = axes.patches[0]
    # The band reaches as far as the noise floor's interval, to both sides of fp32.
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((2.5, 3.5))
    assert axes.get_xlabel() == "stored size (MB)"
    assert {text.get_text() for text in axes.texts} == {"fp32", "w$8_x$"}


def test_only_what_no_other_point_betters_is_on_the_frontier():
    sizes, values = [40.0, 10.0, 10.0, 20.0, 5.0, 10.0], [3.0, 4.0, 4.5, 4.0, 9.0, 4.0]
    assert figures.frontier(sizes, values, higher_is_better=False) == [0, 1, 4, 5]  # equals stay, both of them
    assert figures.frontier(sizes, values, higher_is_better=True) == [4]


def test_a_value_far_off_is_named_at_the_edge_of_quality_against_size(tmp_path, caught):
    values = [3.0, 3.2, 3.1, 3.3, 900.0]
    table = pd.DataFrame(
        {
            "recipe": ["fp32", "a", "b", "c", "lost"],
            "compute": ["float", *["integer"] * 4],
            "size_bytes": pd.array([40, 20, 10, 10, 5], dtype="Int64") * 1_000_000,
            "fd_mini": values,
            "fd_mini_low": [value - 0.5 for value in values],
            "fd_mini_high": [value + 0.5 for value in values],
        }
    )
    figures.quality_against_size(tmp_path / "a.svg", table, {"fd_mini": METRICS["fd_mini"]}, {}, "fp32")
    axes = caught[0].axes[0]
    assert axes.get_ylim()[1] < 10
    # c is as large as b and worse, a is larger than b and worse: neither has its name.
    assert {text.get_text() for text in axes.texts} == {"fp32", "b", "lost: 900"}


def test_drawing_is_the_same_each_time(tmp_path):
    metrics = {"fd_mini": METRICS["fd_mini"]}
    for name in ("a.svg", "b.svg"):
        figures.quality_against_size(tmp_path / name, size_table(), metrics, {}, "fp32")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def comparisons(values):
    rows = [(f"r{i}", "fd_mini", v, v - 0.1, v + 0.1, 0.2, 0.05, "worse") for i, v in enumerate(values)]
    columns = ["recipe", "metric", "difference", "low", "high", "noise_floor", "margin", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def test_a_huge_difference_is_named_at_the_edge(tmp_path, caught):
    metrics = {"fd_mini": METRICS["fd_mini"]}
    figures.differences(tmp_path / "a.svg", comparisons([0.1, -0.2, 0.3, 150.0]), metrics, {}, "fp32")
    axes = caught[0].axes[0]
    assert axes.get_xlim()[1] < 60
    assert [text.get_text() for text in axes.texts] == ["150"]


def test_differences_of_one_scale_are_all_drawn(tmp_path, caught):
    metrics = {"fd_mini": METRICS["fd_mini"]}
    figures.differences(tmp_path / "a.svg", comparisons([0.1, -0.2, 0.3, 0.4]), metrics, {}, "fp32")
    axes = caught[0].axes[0]
    assert not axes.texts
    assert axes.get_xlim()[0] < -0.3
    assert axes.get_xlim()[1] > 0.5
    dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed == [-0.05, 0.05]  # the margin


def test_labels_lie_over_no_other(tmp_path):
    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    rng = np.random.default_rng(2)
    x, y = np.repeat([1.0, 2.0, 3.0], 5), rng.normal(0, 0.05, 15)
    axes.plot(x, y, "o")
    axes.set_xlim(0, 4)
    axes.set_ylim(-1, 1)
    figure.draw_without_rendering()
    place_labels(axes, x, y, [f"recipe_{index}" for index in range(15)])
    figure.draw_without_rendering()
    # The text alone: an annotation's own extent takes in the line that leads to it.
    boxes = [Text.get_window_extent(label) for label in axes.texts]
    assert len(boxes) == 15
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_a_calibration_of_an_earlier_version_is_told_from_one_without_a_layer(built, tmp_path):
    """Noise levels were under another name before there were objectives."""
    tensors, metadata = read_tensors(built[0].act_stats, framework="np")
    tensors["sigmas"] = tensors.pop("levels")
    write_tensors(tmp_path / "act_stats.safetensors", tensors, metadata)
    inputs = dataclasses.replace(built[0], act_stats=tmp_path / "act_stats.safetensors")
    with pytest.raises(DamagedArtifactError, match=r"has no `levels`.*calibrate again"):
        draw_figures(inputs, gather(inputs), tmp_path)
