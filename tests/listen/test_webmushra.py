"""The export to webMUSHRA: a configuration with the keys of its documentation, and WAV files with the clips of the test."""

import shutil

import numpy as np
import pytest
import soundfile
import yaml

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.listen.build import TestSettings, build_test, key_path
from audioptq.listen.webmushra import export

# Of webMUSHRA's doc/experimenter.md.
MUSHRA_KEYS = {
    "type", "id", "name", "content", "showWaveform", "enableLooping", "strict", "reference", "createAnchor35", "createAnchor70",
    "randomize", "showConditionNames", "stimuli",
}  # fmt: skip
LIKERT_KEYS = {"type", "id", "name", "content", "mustRate", "mustPlayback", "stimuli", "response"}


def test_mushra(built, tmp_path):
    folder, key = built["mushra"]
    config = yaml.safe_load(export(folder, tmp_path).read_text(encoding="utf-8"))
    (order, *pages), finish = config["pages"]
    assert order == "random"
    assert finish["type"] == "finish"
    assert finish["writeResults"]
    assert len(pages) == 5
    for page in pages:
        assert set(page) == MUSHRA_KEYS
        variants = sorted(key.clips[token]["variant"] for token in page["stimuli"])
        assert variants == [
            "anchor_3k5",
            "anchor_7k",
            "w8a8_sqd_lora",
            "w8a8_sqs",
        ]  # webMUSHRA hides the reference itself
        for path in (page["reference"], *page["stimuli"].values()):
            audio, rate = soundfile.read(tmp_path / path)
            assert rate == 16_000
            assert len(audio) == 16_000
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(recipe.encode() in everything for recipe in key.recipes)


def test_rating(results, tools, tmp_path):
    key = build_test(results, tmp_path / "test", TestSettings(prompts=["clip-4", "clip-1"]), say=lambda text: None)
    config = yaml.safe_load(export(tmp_path / "test", tmp_path / "out").read_text(encoding="utf-8"))
    pages = config["pages"][0][1:]
    assert len(pages) == 6
    assert all(set(page) == LIKERT_KEYS and len(page["stimuli"]) == 1 for page in pages)
    assert {token for page in pages for token in page["stimuli"]} == set(key.clips)
    # webMUSHRA shows content as HTML.
    assert not any("<" in page["content"] for page in pages)
    assert any("&lt;script&gt;" in page["content"] for page in pages)
    wav, _ = soundfile.read(tmp_path / "out" / next(iter(pages[0]["stimuli"].values())))
    assert 0.01 < np.abs(wav).max() < 1


def test_what_cannot_be_exported_is_said(built, tmp_path):
    with pytest.raises(UserError, match="no ABX page that hides"):
        export(built["abx"][0], tmp_path / "out")
    folder, key = built["rating"]
    shutil.copytree(folder, tmp_path / "test")
    with pytest.raises(DamagedArtifactError, match="missing"):
        export(tmp_path / "test", tmp_path / "out")
    shutil.copy(key_path(built["mushra"][0]), tmp_path / "test.key.json")
    with pytest.raises(UserError, match="the key of another test"):
        export(tmp_path / "test", tmp_path / "out")
    shutil.copy(key_path(folder), tmp_path / "test.key.json")
    (tmp_path / "test/clips" / f"{next(iter(key.clips))}.js").write_text("listenClip(")
    with pytest.raises(DamagedArtifactError, match="Build the test anew"):
        export(tmp_path / "test", tmp_path / "out")
