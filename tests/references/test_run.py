"""The order, the waits and the end of a run; downloads are stood in for, so that every failure can be had."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile

from audioptq.audio.clips import read_clip
from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import read_parquet, write_parquet
from audioptq.references import run as run_module
from audioptq.references.failures import FetchFailure
from audioptq.references.locate import locate
from audioptq.references.record import Record
from audioptq.references.run import collect_references
from audioptq.references.source import AudioSource
from audioptq.references.tables import manifest_table, missing_text, summary
from audioptq.references.wanted import Wanted

HOSTILE = ["../../x", "a/b", "-rf", "a\tb\nc", '=1+1,"q"', "ü雨", "x" * 300, ".", ""]


def clips(*names):
    return [Wanted(name, f"https://a.example/{index}", 0.0) for index, name in enumerate(names)]


@pytest.fixture
def source():
    return AudioSource("https://a.example/{name}", duration=1.0, rate_limit=0.0, retries=2, backoff=8.0, stop_after=3)


@pytest.fixture
def web(monkeypatch):
    """Answers by reference id: a list of reasons, one per attempt, "ok" for a clip; the last holds on. Notes who was asked."""

    class Web:
        def __init__(self):
            self.answers, self.asked, self.peak = {}, [], 0.5

        def download(self, wanted, source, folder):
            self.asked.append(wanted.reference_id)
            reasons = self.answers.get(wanted.reference_id, ["ok"])
            reason = reasons.pop(0) if len(reasons) > 1 else reasons[0]
            if reason != "ok":
                raise FetchFailure(reason, f"it says\t{reason}")
            sound = np.random.default_rng(len(self.asked)).uniform(
                -self.peak, self.peak, (source.sample_rate, source.channels)
            )
            soundfile.write(folder / "audio.x", sound, source.sample_rate, format="FLAC")
            return folder / "audio.x", {"video_seconds": None, "said": ""}

    web = Web()
    monkeypatch.setattr(run_module, "download_section", web.download)
    return web


def statuses(records):
    return [record.status for record in records]


def test_checks_for_robots_stop_the_run_and_keep_what_is_there(web, source, tmp_path):
    web.answers = {name: ["bot_check"] for name in "bcd"}
    waits = []
    with pytest.raises(
        UserError, match=r"3 clips in a row failed.*bot_check.*audio\.cookies.*the 1 clips of 6 that are there"
    ):
        collect_references(clips(*"abcdef"), source, tmp_path, waits.append)
    assert web.asked == list("abcd")  # each once, and none after the third
    assert not any(waits)

    web.answers, web.asked = {}, []
    assert statuses(collect_references(clips(*"abcdef"), source, tmp_path)) == ["ok"] * 6
    assert web.asked == list("efbcd")  # what failed before comes last


def test_a_few_failures_do_not_stop_the_run(web, source, tmp_path):
    web.answers = {"b": ["bot_check"], "c": ["bot_check"], "d": ["private"], "e": ["bot_check"], "f": ["timeout"]}
    records = collect_references(clips(*"abcdefg"), source, tmp_path, lambda seconds: None)
    assert statuses(records) == ["ok", "bot_check", "bot_check", "private", "bot_check", "timeout", "ok"]


def test_other_failures_in_a_row_stop_it_too_unless_told_not_to(web, source, tmp_path):
    web.answers = {name: ["network"] for name in "abcd"}
    with pytest.raises(UserError, match=r"network.*Check the network.*stop_after"):
        collect_references(clips(*"abcd"), source, tmp_path, lambda seconds: None)
    records = collect_references(clips(*"abcd"), replace(source, stop_after=None), tmp_path, lambda seconds: None)
    assert statuses(records) == ["network"] * 4
    assert [record.attempts for record in records] == [6, 6, 6, 3]


def test_what_is_gone_is_asked_for_again_only_on_request(web, source, tmp_path):
    web.answers = {"a": ["removed"]}
    assert [record.attempts for record in collect_references(clips("a"), source, tmp_path)] == [1]
    web.answers = {}
    assert statuses(collect_references(clips("a"), source, tmp_path)) == ["removed"]
    records = collect_references(clips("a"), replace(source, retry_missing=True), tmp_path)
    assert (statuses(records), records[0].attempts, records[0].message) == (["ok"], 2, "")


def test_waits_double_and_vary(web, source, tmp_path):
    web.answers = {name: ["timeout"] for name in "abcdefgh"}
    waits = []
    collect_references(clips(*"abcdefgh"), replace(source, stop_after=None), tmp_path, waits.append)
    waits = [wait for wait in waits if wait]
    first, second = waits[::2], waits[1::2]
    assert len(first) == len(second) == 8
    assert all(4 <= wait <= 12 for wait in first)
    assert all(8 <= wait <= 24 for wait in second)
    assert len(set(waits)) == 16


def test_downloads_start_no_faster_than_the_rate(web, source, tmp_path, monkeypatch):
    now = [100.0]

    def sleep(seconds):
        now[0] += seconds

    starts = []

    def download(*arguments):
        starts.append(now[0])
        now[0] += 0.5
        return web.download(*arguments)

    monkeypatch.setattr(run_module, "download_section", download)
    web.answers = {"b": ["forbidden", "ok"]}
    collect_references(clips(*"abc"), replace(source, rate_limit=3.0, backoff=0.0), tmp_path, sleep, lambda: now[0])
    assert starts == [100.0, 103.0, 106.0, 109.0]


def test_hostile_ids_stay_in_the_folder_and_in_their_cells(web, source, tmp_path):
    folder = tmp_path / "references" / "clips"
    web.answers = {"a\tb\nc": ["removed"], "-rf": ["timeout"]}
    records = collect_references(clips(*HOSTILE), source, folder, lambda seconds: None)
    assert sum(record.present for record in records) == len(HOSTILE) - 2
    assert len(list(folder.glob("*.flac"))) == len(HOSTILE) - 2
    assert {path.name for path in tmp_path.iterdir()} == {"references"}
    assert [path.name for path in folder.parent.iterdir()] == ["clips"]

    write_parquet(folder.parent / "manifest.parquet", manifest_table(records, source, "clips"), {})
    table, _ = read_parquet(folder.parent / "manifest.parquet")
    assert table["reference_id"].tolist() == [name for name in HOSTILE if name not in web.answers]
    for row in table.itertuples():
        audio, rate = read_clip(folder.parent / row.path)
        assert audio.shape == (row.channels, round(row.seconds * row.sample_rate)) == (2, rate)
    (tmp_path / "missing.tsv").write_text(missing_text(records))
    missing = pd.read_csv(tmp_path / "missing.tsv", sep="\t", keep_default_na=False)
    assert missing["reference_id"].tolist() == ["-rf", "a\tb\nc"]
    assert missing["class"].tolist() == ["timeout", "removed"]
    assert missing["lasting"].tolist() == ["no", "yes"]
    assert missing["message"].tolist() == ["it says timeout", "it says removed"]
    assert missing["attempts"].tolist() == [3, 1]
    assert missing["yt_dlp"].str.match(r"\d{4}\.\d").all()
    assert missing["time"].str.endswith("+00:00").all()
    assert "1 may be had another time: snakemake --forcerun references" in summary(records)


def test_damaged_records_are_no_records(web, source, tmp_path):
    [first] = collect_references(clips("a"), source, tmp_path)
    for text in ("", "{", "[]", "{}", '{"status": "ok"}', "null"):
        (tmp_path / "a.json").write_text(text)
        assert collect_references(clips("a"), source, tmp_path)[0].status == first.status
    assert len(web.asked) == 7


@pytest.fixture
def manifest(web, source, tmp_path):
    folder = tmp_path / "references"
    records = collect_references(clips("a", "b"), source, folder / "clips")
    web.peak = 0.0
    records += collect_references(clips("quiet"), source, folder / "clips")
    write_parquet(folder / "manifest.parquet", manifest_table(records, source, "clips"), {})
    return folder / "manifest.parquet"


@pytest.fixture
def prompts():
    ids = ["a", "b", "a", "c", "quiet"]
    paths = pd.Series([None, "own.wav", None, None, None], dtype=object)
    return pd.DataFrame({"clip_id": list("12345"), "reference_id": ids, "reference_path": paths})


def test_prompts_find_their_own_audio_then_the_downloaded(manifest, prompts):
    moved = manifest.parent.rename(manifest.parent.with_name("moved"))
    paths = locate(prompts, moved / manifest.name)["reference_path"].tolist()
    assert paths == [str(moved / "clips/a.flac"), "own.wav", str(moved / "clips/a.flac"), None, None]
    assert prompts["reference_path"].isna().sum() == 4  # the argument is left alone


def test_without_a_manifest_prompts_keep_what_they_have(prompts):
    assert locate(prompts)["reference_path"].tolist() == [None, "own.wav", None, None, None]


@pytest.mark.parametrize("damage", ["delete", "alter"])
def test_altered_clips_are_named(manifest, prompts, damage):
    path = manifest.parent / "clips/b.flac"
    path.unlink() if damage == "delete" else path.write_bytes(b"x")
    with pytest.raises(
        DamagedArtifactError, match=r"clips/b\.flac is missing or has been altered.*--forcerun references"
    ):
        locate(prompts, manifest)


def test_nothing_at_all_makes_empty_tables(source):
    records = [Record("a", "https://a.example/", 0.0, "f", status="removed", message="gone")]
    assert manifest_table(records, source, "clips").empty
    assert list(manifest_table(records, source, "clips")) == list(manifest_table([], source, "clips"))
    assert summary(records) == "0 of 1 reference clips are there (none); missing: 1 removed"
