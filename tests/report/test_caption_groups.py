from pathlib import Path

import pandas as pd
import pytest

from audioptq.report.measure.caption_groups import caption_group_tables, caption_groups
from audioptq.score.table import METRICS

CAPTIONS = Path(__file__).parents[3] / "shared/data/audiocaps/test.csv"


def test_slices_of_four_captions() -> None:
    captions = ["A dog barks", "A man speaking", "Rain then wind", "A woman laughs while rain falls"]
    masks = {name: mask.tolist() for name, mask in caption_groups(captions).items()}
    assert masks == {
        "all": [True, True, True, True],
        "no speech": [True, False, True, False],
        "no connectors": [True, True, False, False],
        "neither": [True, False, False, False],
    }


@pytest.mark.skipif(not CAPTIONS.exists(), reason="AudioCaps' test captions are not beside the repository")
def test_published_counts_come_out() -> None:
    captions = pd.read_csv(CAPTIONS)["caption"].tolist()
    counts = {name: int(mask.sum()) for name, mask in caption_groups(captions).items()}
    # arXiv 2407.14358, table 5.
    assert counts == {"all": 4875, "no speech": 2765, "no connectors": 711, "neither": 587}


def test_means_and_counts_are_those_of_the_slice() -> None:
    prompts = pd.DataFrame({"clip_id": ["a", "b", "c"], "caption": ["A dog", "A man", "Rain then wind"]})
    rows = [("fp32", "a", 0.1), ("fp32", "b", 0.3), ("fp32", "c", 0.5), ("w8", "a", 0.2), ("w8", "b", None)]
    scores = pd.DataFrame(rows, columns=["recipe", "clip_id", "value"]).assign(metric="clap_mini")
    metrics = {metric: METRICS[metric] for metric in ("clap_mini", "kl_mini")}
    (table,) = caption_group_tables(prompts, scores, metrics, ["fp32", "w8"])
    assert table["headings"][2:] == ["no speech (2 captions)", "no connectors (2 captions)", "neither (1 captions)"]
    assert table["rows"][0] == ["fp32", "0.3000 (n = 3)", "0.3000 (n = 2)", "0.2000 (n = 2)", "0.1000 (n = 1)"]
    assert table["rows"][1] == ["w8", "0.2000 (n = 1)", "0.2000 (n = 1)", "0.2000 (n = 1)", "0.2000 (n = 1)"]


def test_slices_are_of_clap_scores_and_on_the_page(built) -> None:
    prompts = pd.DataFrame({"clip_id": ["a"], "caption": ["A dog"]})
    scores = pd.DataFrame({"recipe": ["fp32"], "clip_id": ["a"], "value": [1.0], "metric": ["kl_mini"]})
    assert caption_group_tables(prompts, scores, {"kl_mini": METRICS["kl_mini"]}, ["fp32"]) == []
    assert "By kind of caption" in (built[1] / "report.html").read_text()
