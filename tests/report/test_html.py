import dataclasses
import re
from html.parser import HTMLParser

import jinja2
import pandas as pd
import pytest

from audioptq.errors import UserError
from audioptq.report.figures.draw import draw_figures
from audioptq.report.measure.results import gather
from audioptq.report.page.contents import page_values, table_note
from audioptq.report.page.details import dynamic_ranges, flat_facts, layer_summary, published_rows, size_parts
from audioptq.report.page.render import inline_svg, render_page
from audioptq.report.page.sentences import findings
from audioptq.report.run import build_report


class Reader(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self):
        super().__init__()
        self.scripts, self.addresses, self.handlers, self.ids, self.text = 0, [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
                self.addresses.append(value)
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "id":
                self.ids.append(value)

    def handle_data(self, data):
        self.text.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    return reader


@pytest.fixture(scope="module")
def page(built):
    return (built[1] / "report.html").read_text(encoding="utf-8")


def test_hostile_caption_is_text(page, hostile):
    reader = read(page)
    assert reader.scripts == 1
    assert not reader.handlers
    assert hostile in "".join(reader.text)
    assert "<script>document" not in page
    assert "{{ 7 * 7 }}" in page


def test_page_asks_for_nothing_outside(page):
    reader = read(page)
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert not re.search(r"@import|url\((?!#)", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy


def test_ids_are_unique(page):
    ids = read(page).ids
    assert len(ids) == len(set(ids))


def test_every_section_of_the_menu_exists(page):
    reader = read(page)
    menu = [address[1:] for address in reader.addresses if re.fullmatch(r"#[a-z]+", address)]
    assert menu[:4] == ["reproduction", "table", "differences", "captions"]
    assert menu[4:] == ["size", "listen", "activations", "recipes", "excluded", "published", "made"]
    assert set(menu) <= set(reader.ids)


def test_page_says_what_its_numbers_are_not(page):
    text = " ".join("".join(read(page).text).split())
    assert "they are not comparable with published CLAP, KL or FD values" in text
    assert "their time is not" in text
    assert "fp32 with seed 1" in text


def test_page_names_excluded_clips_and_other_peoples_rows(page):
    text = "".join(read(page).text)
    assert "generated audio is silent" in text
    assert "Evans et al. 2024, <Table 1>" in text
    assert "dpmpp-3m-sde" in text
    assert "smoothing:" in text


def test_page_is_small(page):
    assert len(page.encode()) < 12_000_000


def test_same_inputs_give_the_same_page(built):
    inputs, _ = built
    once, again = (render_page(page_values(inputs, gather(inputs), {})) for _ in range(2))
    assert once == again


def test_missing_value_is_an_error_not_a_gap():
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render_page({})


def test_unknown_listening_clip_is_a_users_mistake(built, tmp_path):
    inputs, _ = built
    with pytest.raises(UserError, match="'clip-99'"):
        build_report(dataclasses.replace(inputs, listen=["clip-99"]), tmp_path)


def test_inline_drawing_follows_the_page(built):
    svg = str(inline_svg(built[1] / "figures" / "differences.svg"))
    assert svg.startswith("<svg")
    assert 'id="differences-figure_1"' in svg
    assert "currentColor" in svg
    assert "#20242b" not in svg.lower()
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    assert references <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_findings_answer_what_may_be_shipped(built):
    results = gather(built[0])
    boxes = findings(results.table, results.comparisons, "fp32")
    assert [box["answer"] for box in boxes] == ["w8a8_sqd", "2 of 3", "0 of 3"]
    assert boxes[0]["detail"] == "Within the margin of fp32 on every measure that has one: w8a8_sqd (0.28 of the size)."
    assert boxes[1]["detail"].startswith("w4a8_rtn (")
    assert "w4a4_sqs (clap_mini, kl_mini, fd_mini, mcd_db" in boxes[1]["detail"]


def test_findings_say_how_many_clips_would_decide(built):
    results = gather(built[0])
    unsure = results.comparisons.assign(verdict="not enough clips", n_needed=1234)
    boxes = findings(results.table, unsure, "fp32")
    assert [box["answer"] for box in boxes] == ["none shown yet", "0 of 3", "3 of 3"]
    assert "no proof of a loss" in boxes[0]["detail"]
    assert "w8a8_sqd (1,234 clips: " in boxes[2]["detail"]


def test_without_margins_nothing_is_answered(built):
    results = gather(dataclasses.replace(built[0], margins={}, manifests={}))
    assert findings(results.table, results.comparisons, "fp32") == []


def test_small_type_under_size_and_time_is_the_ratio_with_its_interval(page):
    assert "1.29\N{MULTIPLICATION SIGN} (1.29 to 1.29)" in page  # w8a8_sqd: six batches, all of 0.31 s, against 0.40 s
    assert "0.280\N{MULTIPLICATION SIGN}<" in page  # its size, which is exact


def test_activation_layer_must_exist(built, tmp_path):
    inputs, _ = built
    wrong = dataclasses.replace(inputs, activation_range_layer="block.9")
    with pytest.raises(UserError, match=r"'block\.9'.*transformer\.layers\.0\.ff"):
        draw_figures(wrong, gather(inputs), tmp_path)


def test_size_parts_are_shares_of_the_file():
    parts = size_parts({"total": 4_000_000, "components": {"denoiser": 3_000_000}, "parts": {"qdata": 1_000_000}})
    assert [(part["text"], part["percent"]) for part in parts] == [("3.000 MB", 75.0), ("1.000 MB", 25.0)]


def test_layer_summary_counts_quantized_layers_only():
    frame = pd.DataFrame({"layer": ["a", "b", "c"], "sqnr_db": [20.0, 40.0, None], "quantized": [True, True, False]})
    summary = layer_summary(frame, {})
    assert dict(summary["facts"]) == {
        "Quantized layers": 2, "SQNR, median": "30.0 dB", "SQNR, lowest to highest": "20.0 to 40.0 dB",
    }  # fmt: skip
    assert summary["worst"][0] == ("a", "20.0")
    assert layer_summary(pd.DataFrame({"layer": ["a"]}), {}) is None


DYNAMIC = {"activation": {"bits": 8, "range": "dynamic", "granularity": "per_token"}}


def test_a_dynamic_range_of_a_convolution_is_said_to_be_per_clip(built):
    frame = pd.DataFrame(
        {"layer": list("abc"), "sqnr_db": 20.0, "quantized": True, "kind": ["linear", "conv1d", "conv2d"]}
    )
    facts = dict(layer_summary(frame, DYNAMIC)["facts"])
    assert facts["Dynamic ranges"] == "per token in 1 linear layers, per clip in 2 convolutions"
    static = {"activation": {"bits": 8, "range": "static", "granularity": "per_tensor"}}
    for layers, entry in ((frame, static), (frame, {}), (frame.assign(kind="linear"), DYNAMIC)):
        assert dynamic_ranges(layers, entry) == []
    results = gather(built[0])
    assert "convolutions" not in table_note(built[0], results)
    with_convolution = dataclasses.replace(results, layers={"w8a8_sqd": frame})
    assert "range per clip in convolutions" in table_note(built[0], with_convolution)


def test_nested_facts_are_flat():
    record = {"steps": 20, "versions": {"torch": "2.13"}, "seeds": [0, 1], "nothing": None}
    assert flat_facts(record) == [("steps", "20"), ("versions: torch", "2.13"), ("seeds", "0, 1")]


def test_published_rows_put_the_source_last():
    rows = published_rows([{"source": "a", "CLAP": 0.29}, {"KL": 2.1, "source": "b"}])
    assert rows == {
        "columns": ["CLAP", "KL", "source"],
        "rows": [["0.29", "\N{EN DASH}", "a"], ["\N{EN DASH}", "2.1", "b"]],
    }
    assert published_rows([]) is None
