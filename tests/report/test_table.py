import dataclasses
import io

import pandas as pd
import pytest

from audioptq.errors import UserError
from audioptq.files.artifacts import read_parquet
from audioptq.report.formats import Column, marks, measured_groups, shown_cells
from audioptq.report.measure.inputs import ReportInputs
from audioptq.report.measure.results import gather
from audioptq.report.measure.table import guard_cell, to_csv
from audioptq.report.page.render import latex_escape, to_latex, to_markdown
from audioptq.report.run import build_report
from audioptq.score.table import METRICS

METRIC_IDS = ["clap_mini", "kl_mini", "fd_mini", "mcd_db"]
RECIPES = ["fp32", "w8a8_sqd", "w4a8_rtn", "w4a4_sqs"]
CONTRACT = [
    *("model", "recipe", "weight_bits", "act_bits", "compute"),
    *(f"{metric}{end}" for metric in METRIC_IDS for end in ("", "_low", "_high")),
    *("size_bytes", "size_ratio"),
    *(f"{time}{end}" for time in ("seconds_per_clip", "speedup") for end in ("", "_low", "_high")),
    *("n_clips", "seeds"),
]


def test_table_csv_is_the_contract(built):
    _, folder = built
    table = pd.read_csv(folder / "table.csv")
    assert list(table.columns) == CONTRACT
    assert table["recipe"].tolist() == RECIPES
    assert table["weight_bits"].tolist() == [32, 8, 4, 4]
    assert table["act_bits"].tolist() == [32, 8, 8, 4]
    assert table["compute"].tolist() == ["float", "integer", "integer", "simulated"]


def test_ratios_refer_to_fp32(built):
    _, folder = built
    row = pd.read_csv(folder / "table.csv").set_index("recipe").loc["w8a8_sqd"]
    assert row["size_bytes"] == 11_200_000
    assert row["size_ratio"] == pytest.approx(11.2 / 40)
    assert row["speedup"] == pytest.approx(0.40 / 0.31)


def test_noise_floor_seed_enters_no_row(built):
    _, folder = built
    table = pd.read_csv(folder / "table.csv").set_index("recipe")
    assert table.loc["fp32", "seeds"] == 0
    assert table.loc["fp32", "n_clips"] == 6


def test_excluded_clips_are_counted_and_named(built):
    inputs, folder = built
    table = pd.read_csv(folder / "table.csv").set_index("recipe")
    assert table.loc["w4a4_sqs", "n_clips"] == 5
    excluded = gather(inputs).excluded
    assert excluded[["recipe", "seed", "clip_id", "reason"]].values.tolist() == [
        ["w4a4_sqs", 0, "clip-05", "generated audio is silent"]
    ]
    assert excluded.iloc[0].metrics == "clap_mini, kl_mini, mcd_db"


def test_scores_parquet_holds_every_row_with_its_source(built):
    inputs, folder = built
    whole, _ = read_parquet(folder / "scores.parquet")
    assert len(whole) == sum(len(read_parquet(path)[0]) for path in inputs.scores)
    assert set(whole["recipe"]) == set(RECIPES)
    assert set(whole["seed"]) == {0, 1}


def test_comparisons_csv(built):
    _, folder = built
    frame = pd.read_csv(folder / "comparisons.csv")
    assert list(frame.columns[:7]) == ["recipe", "metric", "difference", "low", "high", "margin", "verdict"]
    assert len(frame) == 3 * len(METRIC_IDS)
    verdicts = frame.set_index(["recipe", "metric"])["verdict"]
    assert verdicts["w8a8_sqd", "clap_mini"] in ("equivalent", "different within the margin")
    assert verdicts["w4a8_rtn", "clap_mini"] == "worse"
    # One of its clips is silent, so that it is worse on every measure, also on one without a margin.
    assert set(verdicts["w4a4_sqs"]) == {"worse"}
    assert verdicts["w8a8_sqd", "mcd_db"] != verdicts["w8a8_sqd", "mcd_db"]  # no verdict: an empty cell
    assert frame.set_index(["recipe", "metric"])["reason"]["w4a4_sqs", "mcd_db"].startswith("1 of its clips")


def test_absent_metric_is_an_absent_column(built):
    inputs, _ = built
    kept = [path for path in inputs.scores if path.stem not in ("kl_mini", "fd_mini")]
    results = gather(dataclasses.replace(inputs, scores=kept))
    assert not [name for name in results.table.columns if name.startswith(("kl_mini", "fd_mini"))]
    assert set(results.comparisons["metric"]) == {"clap_mini", "mcd_db"}
    assert "KL(" not in to_markdown(results.table, results.groups, "fp32", "")


def test_only_scores_are_needed(tmp_path, make_run):
    inputs = make_run(tmp_path)
    main = [path for path in inputs.scores if path.parent.name == "seed0"]
    bare = ReportInputs("mini", inputs.recipes, main, inputs.prompts, n_replicates=20)
    table = build_report(bare, tmp_path / "report")
    assert table[["size_bytes", "seconds_per_clip", "speedup"]].isna().all(axis=None)
    assert table["n_clips"].tolist() == [6, 6, 6, 5]
    assert "no noise floor" in (tmp_path / "report" / "table.md").read_text()


def test_full_precision_alone_gives_a_report(built, tmp_path):
    inputs, _ = built
    alone = [path for path in inputs.scores if "fp32" in path.parts]
    table = build_report(
        ReportInputs("mini", {"fp32": {}}, alone, inputs.prompts, noise_floor_seed=1, n_replicates=20), tmp_path
    )
    assert len(table) == 1
    assert pd.read_csv(tmp_path / "comparisons.csv").empty
    page = (tmp_path / "report.html").read_text()
    assert 'id="results"' in page
    assert "Against full precision" not in page


def test_several_seeds_make_one_row(scores, built):
    for seed in (0, 7):
        for recipe in ("fp32", "w4a8_rtn"):
            scores.clips(recipe, seed, "clap_mini", {"clip-00": 0.1 * seed, "clip-01": 0.3})
    recipes = {"fp32": {}, "w4a8_rtn": {"weight": {"bits": 4}}}
    table = gather(ReportInputs("mini", recipes, scores.paths, built[0].prompts, n_replicates=20)).table
    assert table["seeds"].tolist() == ["0 7", "0 7"]
    assert table["n_clips"].tolist() == [4, 4]
    assert table["clap_mini"].tolist() == pytest.approx([(0.0 + 0.3 + 0.7 + 0.3) / 4] * 2)


def test_baseline_must_be_among_the_recipes(built, tmp_path):
    inputs, _ = built
    with pytest.raises(UserError, match="'fp16' is not among"):
        build_report(dataclasses.replace(inputs, baseline="fp16"), tmp_path)


def test_noise_floor_seed_must_be_its_own(built, tmp_path):
    inputs, _ = built
    with pytest.raises(UserError, match="Seed 0 is the noise floor of fp32 and is also scored for w4a4_sqs"):
        build_report(dataclasses.replace(inputs, noise_floor_seed=0), tmp_path)


def small_table(values):
    names = [f"r{index}" for index in range(len(values))]
    return pd.DataFrame({"recipe": names, "x": values})


@pytest.mark.parametrize(
    ("higher_is_better", "expected"),
    [(True, {"r1": "best", "r2": "second"}), (False, {"r0": "best", "r2": "second"})],
)
def test_best_and_second_respect_the_direction(higher_is_better, expected):
    column = Column("x", "X", higher_is_better=higher_is_better, decimals=1)
    assert marks(small_table([1.0, 3.0, 2.0]), column) == expected


def test_equal_printed_values_share_a_mark_and_absent_ones_have_none():
    column = Column("x", "X", higher_is_better=True, decimals=1)
    assert marks(small_table([3.01, 3.02, 1.0, float("nan")]), column) == {"r0": "best", "r1": "best", "r2": "second"}
    assert marks(small_table([3.0, float("nan")]), column) == {}


def test_simulated_time_and_the_baselines_own_distance_are_not_ranked(built):
    inputs, _ = built
    results = gather(inputs)
    shown = shown_cells(results.table, [c for group in results.groups for c in group.columns], "fp32")
    # w4a4_sqs is the quickest, but simulated.
    assert {recipe: cell.mark for recipe, cell in shown["speedup"].items()} == {
        "fp32": "", "w8a8_sqd": "best", "w4a8_rtn": "second", "w4a4_sqs": "",
    }  # fmt: skip
    assert shown["mcd_db"]["fp32"].text == "\N{EN DASH}"
    assert shown["mcd_db"]["w8a8_sqd"].mark == "best"


def test_distance_zero_of_the_baseline_is_not_best(built):
    inputs, _ = built
    results = gather(inputs)
    table = results.table.copy()
    table.loc[table["recipe"] == "fp32", ["mcd_db", "mcd_db_low", "mcd_db_high"]] = 0.0
    shown = shown_cells(table, [c for group in measured_groups(table, results.metrics) for c in group.columns], "fp32")
    assert (shown["mcd_db"]["fp32"].mark, shown["mcd_db"]["w8a8_sqd"].mark) == ("", "best")


def test_markdown_marks_and_intervals(built):
    _, folder = built
    lines = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| ")]
    assert lines[0].startswith("| Recipe | Bits | Compute | CLAP score (mini) ↑ |")
    rows = {line.split(" | ")[0].strip("| "): line for line in lines[2:] if "published" not in line}
    assert set(rows) == {"fp32", "w8a8\\_sqd", "w4a8\\_rtn", "w4a4\\_sqs"}
    assert "**3.00** <sub>" in rows["fp32"]
    assert "<u>3.01</u> <sub>" in rows["w8a8\\_sqd"]
    assert len({line.count(" | ") for line in lines}) == 1
    assert "not comparable with published" in (folder / "table.md").read_text().splitlines()[-1]
    assert "the median over clips, its interval of draws of batches." in (folder / "table.md").read_text()


HOSTILE_NAME = "a|b_c&d%e$f#g{h}~i^j\\k<script>"


def hostile_table(built):
    inputs, _ = built
    results = gather(inputs)
    table = results.table.copy()
    table.loc[1, "recipe"] = HOSTILE_NAME
    return table, measured_groups(table, results.metrics)


def test_latex_is_escaped_and_rectangular(built):
    table, groups = hostile_table(built)
    text = to_latex(table, groups, "fp32", "50 % of A & B")
    assert (
        r"a\textbar{}b\_c\&d\%e\$f\#g\{h\}\textasciitilde{}i\textasciicircum{}j\textbackslash{}k\textless{}script"
        in text
    )
    assert r"50 \% of A \& B" in text
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].replace(r"\&", "").strip().splitlines()
    n_columns = 4 + sum(len(group.columns) for group in groups)
    assert [row.count("&") + 1 for row in body] == [n_columns] * 4
    assert text.count("{") == text.count("}")
    assert r"\textbf{3.00}" in text
    assert r"\underline{3.01}" in text


def test_latex_has_no_character_outside_ascii(built):
    table, groups = hostile_table(built)
    assert to_latex(table, groups, "fp32", "A note.").isascii()


def test_latex_escape_leaves_plain_text():
    assert latex_escape("W8A8, 50 ms") == "W8A8, 50 ms"


def test_markdown_keeps_a_hostile_name_in_its_cell(built):
    table, groups = hostile_table(built)
    lines = to_markdown(table, groups, "fp32", "note").splitlines()
    assert "<script>" not in "\n".join(lines)
    assert len({line.replace("\\|", "").count("|") for line in lines[:6]}) == 1


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_formulas_are_guarded(text):
    assert guard_cell(text) == "'" + text


def test_csv_guards_text_and_leaves_numbers():
    frame = pd.DataFrame({"recipe": ["=cmd()", 'say "hi", please'], "difference": [-0.5, 1 / 3]})
    read = pd.read_csv(io.StringIO(to_csv(frame)))
    assert read["recipe"].tolist() == ["'=cmd()", 'say "hi", please']
    assert read["difference"].tolist() == pytest.approx([-0.5, 1 / 3])


def test_every_registered_metric_has_a_column_group(built):
    inputs, _ = built
    base = gather(inputs).table
    added = {f"{metric}{end}": 1.0 for metric in METRICS for end in ("", "_low", "_high")}
    groups = measured_groups(base.assign(**added), METRICS)
    shown = [column.name for group in groups for column in group.columns]
    assert set(METRICS) <= set(shown)
    assert shown.index("mcd_db") > shown.index("fd_mini")
