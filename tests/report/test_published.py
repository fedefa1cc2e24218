import dataclasses
import math

import pandas as pd
import pytest

from audioptq.errors import UserError
from audioptq.report.formats import DASH
from audioptq.report.measure.aggregate import Estimate
from audioptq.report.measure.inputs import ReportInputs
from audioptq.report.measure.published import read_published, reproductions, summary, warning
from audioptq.report.measure.results import gather
from audioptq.report.run import build_report

SOURCE = "Stable Audio Open (arXiv 2407.14358), table 1"


def table_of(recipe: str = "fp32", **metrics: tuple[float, float, float]) -> pd.DataFrame:
    columns = {
        f"{name}{end}": [value]
        for name, of in metrics.items()
        for end, value in zip(("", "_low", "_high"), of, strict=True)
    }
    return pd.DataFrame({"recipe": [recipe], **columns})


OURS = table_of(clap_mini=(0.280, 0.275, 0.285), kl_mini=(2.30, 2.20, 2.40), fd_mini=(80.0, 79.0, 81.0))
PUBLISHED = [{"source": SOURCE, "recipe": "fp32", "clap_mini": 0.284, "kl_mini": 2.14, "fd_mini": 78.24, "lsd_db": 1.0}]
FLOORS = {"fd_mini": Estimate(-1.8, -2.5, -1.0), "kl_mini": Estimate(0.02, 0.0, 0.04)}


def judged(rows, table=OURS, floors=FLOORS):
    return {entry.metric: entry for entry in reproductions(read_published(rows), table, floors, "fp32")}


def test_half_the_interval_or_another_seed_is_allowed_whichever_is_more() -> None:
    found = judged(PUBLISHED)
    assert (found["clap_mini"].verdict, found["clap_mini"].tolerance) == ("within", pytest.approx(0.005))
    # The interval alone would not reach; the other seed lies 1.8 away.
    assert (found["fd_mini"].verdict, found["fd_mini"].tolerance) == ("within", 1.8)
    assert judged(PUBLISHED, floors={})["fd_mini"].verdict == "outside"
    assert found["kl_mini"].verdict == "outside"
    assert found["kl_mini"].words(2) == "outside by 0.06 (allowed 0.10)"
    assert found["lsd_db"].words(2) == "not comparable (fp32 is at no distance from itself)"


def test_what_was_not_measured_is_said_to_be() -> None:
    found = judged(PUBLISHED, table=OURS.drop(columns=[name for name in OURS if name.startswith("fd_mini")]))
    assert found["fd_mini"].words(1) == "not comparable (not measured here)"
    nothing = judged(PUBLISHED, table=OURS.assign(kl_mini=math.nan))
    assert nothing["kl_mini"].verdict == "not comparable"
    alone = judged(PUBLISHED, table=OURS.assign(kl_mini_low=math.nan, kl_mini_high=math.nan), floors={})
    assert alone["kl_mini"].words(1) == "not comparable (neither an interval nor another seed)"


def test_rows_of_other_recipes_are_not_judged() -> None:
    assert judged([{"source": SOURCE, "recipe": "w8a8_sqd", "clap_mini": 0.1}]) == {}
    assert judged([{"source": SOURCE, "clap_mini": 0.1}]) == {}
    assert judged([{"source": SOURCE, "recipe": "fp32", "size_mb": 3.0}]) == {}


def test_the_warning_is_plain_and_only_where_something_is_outside() -> None:
    found = list(judged(PUBLISHED).values())
    text = warning(found, "fp32")
    assert f"{SOURCE}: KL(generated" in text
    assert "only differences between recipes" in text
    assert "FD" not in text
    assert warning([entry for entry in found if entry.metric != "kl_mini"], "fp32") == ""
    line = summary(found, {"kl_mini": 2}, "fp32")
    assert "KL(generated‖reference) (mini) 2.300 against 2.14: outside by 0.060 (allowed 0.100)" in line
    assert summary([], {}, "fp32") == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"clap_mini": 0.3}, "no `source`"),
        ({"source": "a", "clap_mimi": 0.3}, "'clap_mimi'.* Did you mean 'clap_mini'"),
        ({"source": "a", "clap_mini": "0.3"}, "clap_mini is '0.3' and not a number"),
        ({"source": "a", "clap_mini": float("nan")}, "not a number"),
        ({"source": "a", "clap_mini": True}, "not a number"),
    ],
)
def test_rows_that_nothing_could_be_compared_with_are_refused(row, message) -> None:
    with pytest.raises(UserError, match=message):
        read_published([row])


def test_published_rows_stand_below_ours_and_are_no_part_of_the_contract(built) -> None:
    _, folder = built
    lines = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| ")]
    assert lines[3].startswith(f"| fp32 | {DASH} | published [1] | 0.29 | 2.14 | 2.9 | {DASH} |")
    assert lines[-1].startswith(f"| int8 | {DASH} | published [1] | 0.2801 | {DASH} |")
    assert "| 0.25 |" in lines[-1]
    assert r"\[1\] Evans et al. 2024, &lt;Table 1&gt;." in (folder / "table.md").read_text()
    tex = (folder / "table.tex").read_text()
    assert "fp32 & -- & published [1] & 0.29 & 2.14" in tex
    body = tex.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert len({row.replace(r"\&", "").count("&") for row in body}) == 1
    assert pd.read_csv(folder / "table.csv")["recipe"].tolist() == ["fp32", "w8a8_sqd", "w4a8_rtn", "w4a4_sqs"]


def test_table_and_page_say_it_before_any_recipe(built) -> None:
    _, folder = built
    head, empty, caution = (folder / "table.md").read_text().splitlines()[:3]
    assert empty == ""
    assert head.startswith("fp32 against published numbers, before any recipe is judged. Evans et al. 2024")
    assert "against 2.14: outside by" in head
    assert "against 2.9: within" in head
    assert caution.startswith("Warning: fp32 does not reproduce published numbers")
    page = (folder / "report.html").read_text()
    assert page.index("Warning: fp32 does not reproduce published numbers") < page.index('id="reproduction"')
    assert page.index('id="reproduction"') < page.index('id="table"')
    assert "published [1]" in page


def test_without_published_rows_nothing_is_said(built, tmp_path) -> None:
    inputs, _ = built
    bare = dataclasses.replace(inputs, published=(), listen=(), n_replicates=20)
    build_report(bare, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("May be shipped: ")
    assert [line for line in text.splitlines() if line][3].startswith("| Recipe |")  # below the three answers
    for name in ("table.md", "table.tex", "report.html"):
        assert "published [" not in (tmp_path / name).read_text()
    assert 'id="reproduction"' not in (tmp_path / "report.html").read_text()


def test_only_full_precisions_own_scores_decide(scores, built) -> None:
    """From score files: 0.30 with a wide interval, another seed 0.05 off, and a recipe that hits the number by chance."""
    ids = [f"clip-{index:02d}" for index in range(6)]
    for recipe, seed, shift in (("fp32", 0, 0.0), ("fp32", 1, 0.05), ("w4a8_rtn", 0, 0.10)):
        scores.clips(recipe, seed, "clap_mini", {clip_id: 0.30 + shift for clip_id in ids})
    recipes = {"fp32": {}, "w4a8_rtn": {"weight": {"bits": 4}}}
    common = {"noise_floor_seed": 1, "n_replicates": 20}
    for published, verdict in ((0.34, "within"), (0.40, "outside")):
        rows = [{"source": SOURCE, "recipe": "fp32", "clap_mini": published, "kl_passt": 2.14}]
        inputs = ReportInputs("mini", recipes, scores.paths, built[0].prompts, published=rows, **common)
        found = {entry.metric: entry for entry in gather(inputs).reproductions}
        assert found["clap_mini"].verdict == verdict
        assert found["clap_mini"].tolerance == pytest.approx(0.05)
        assert found["kl_passt"].why == "not measured here"
