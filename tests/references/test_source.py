"""Addresses made of strangers' text reach the host that the config names and no other; starts are times."""

import csv
from dataclasses import fields
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from audioptq.errors import UserError
from audioptq.references import source as source_module
from audioptq.references.source import AudioSource, check_ready
from audioptq.references.wanted import wanted_references

YOUTUBE = "https://www.youtube.com/watch?v={youtube_id}"
ROOT = Path(__file__).parents[2]
AUDIOCAPS = ROOT / "../shared/data/audiocaps/test.csv"
COLUMNS = {"clip_id": "audiocap_id", "caption": "caption", "reference_id": "youtube_id"}


def dataset(path, rows, **changes):
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("audiocap_id", "youtube_id", "start_time", "caption"), *rows])
    audio = {"url": YOUTUBE, "start": "start_time"}
    return {"kind": "csv", "path": str(path), "columns": COLUMNS, "seconds_total": 10.0, "audio": audio, **changes}


def wanted(entry):
    return wanted_references(entry, AudioSource.from_config(entry["audio"]))


@pytest.mark.parametrize(
    "value",
    [
        "7fmOlUlwoNg",
        "--exec=id",
        "x&list=PL1",
        "@evil.example/",
        "../../a",
        "#x",
        "a b",
        "%2e",
        "ü雨",
        "http://e.example/",
    ],
)
def test_a_value_is_never_more_than_a_value(value):
    parts = urlsplit(AudioSource(YOUTUBE).address({"youtube_id": value, "caption": "{x}"}))
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("https", "www.youtube.com", "/watch", "")
    assert parse_qs(parts.query) == {"v": [value]}


@pytest.mark.parametrize(
    "url",
    [
        "https://{host}/a", "{scheme}://a.example/b", "https://a.example@{host}/", "file:///etc/passwd", "ftp://a.example/{a}",
        "youtube.com/{a}", "https:///{a}", "https://a.example/{a.b}", "https://a.example/{a[0]}", "https://a.example/{a!r}",
        "https://a.example/{a:>9}", "https://a.example/{}", "https://a.example/{a", "--exec={a}", "", "https://[a/{b}",
    ],
)  # fmt: skip
def test_addresses_that_a_row_could_turn_elsewhere_are_refused(url):
    with pytest.raises(UserError, match=r"audio\.url is .* cannot be used"):
        AudioSource(url)


def test_captions_of_one_reference_share_a_clip(tmp_path):
    rows = [("1", "aa", "30", "rain"), ("2", "bb", "0", "wind"), ("3", "aa", "30", "heavy rain")]
    clips = wanted(dataset(tmp_path / "a.csv", rows))
    assert [(clip.reference_id, clip.start_seconds) for clip in clips] == [("aa", 30.0), ("bb", 0.0)]
    assert clips[0].url == "https://www.youtube.com/watch?v=aa"


def test_only_clips_of_evaluated_prompts_are_wanted(tmp_path):
    rows = [(str(index), f"y{index}", "0", "rain") for index in range(9)]
    (tmp_path / "ids.txt").write_text("y3\ny5\n")
    entry = dataset(tmp_path / "a.csv", rows, subset=str(tmp_path / "ids.txt"))
    assert [clip.reference_id for clip in wanted(entry)] == ["y3", "y5"]
    assert len(wanted(entry | {"max_clips": 1})) == 1


def test_captions_that_disagree_about_their_clip_are_explained(tmp_path):
    rows = [("1", "aa", "30", "rain"), ("2", "aa", "60", "wind")]
    with pytest.raises(UserError, match=r"a\.csv the reference 'aa' is two clips.*30 s.*60 s.*columns\.reference_id"):
        wanted(dataset(tmp_path / "a.csv", rows))


@pytest.mark.parametrize("start", ["", "-1", "soon", "nan", "inf"])
def test_starts_that_are_no_times_are_explained(tmp_path, start):
    with pytest.raises(UserError, match=r"a\.csv the column start_time has"):
        wanted(dataset(tmp_path / "a.csv", [("1", "aa", start, "rain")]))


def test_a_start_may_be_a_number(tmp_path):
    entry = dataset(tmp_path / "a.csv", [("1", "aa", "soon", "rain")], audio={"url": YOUTUBE, "start": 2})
    assert wanted(entry)[0].start_seconds == 2.0


@pytest.mark.parametrize(("key", "name"), [("url", "https://a.example/{youtube}"), ("start", "begin")])
def test_a_missing_column_is_named(tmp_path, key, name):
    entry = dataset(tmp_path / "a.csv", [("1", "aa", "0", "rain")])
    entry["audio"] = {**entry["audio"], key: name}
    with pytest.raises(UserError, match=r"a\.csv has no column .* for reference audio.*Mend datasets\.<name>\.audio"):
        wanted(entry)


def test_a_clips_fingerprint_is_of_all_that_decides_it(tmp_path):
    clip = wanted(dataset(tmp_path / "a.csv", [("1", "aa", "0", "rain")]))[0]
    source = AudioSource(YOUTUBE)
    others = [AudioSource(YOUTUBE, **change) for change in ({"duration": 5}, {"sample_rate": 48000}, {"channels": 1})]
    assert clip.fingerprint(source) == clip.fingerprint(AudioSource(YOUTUBE, duration=10, retries=9, cookies="x"))
    assert clip.fingerprint(source) not in {clip.fingerprint(other) for other in others}


@pytest.mark.parametrize("missing", ["ffmpeg", "ffprobe"])
def test_missing_tools_are_named_with_their_package(monkeypatch, missing):
    monkeypatch.setattr(source_module.shutil, "which", lambda tool: None if tool == missing else tool)
    with pytest.raises(UserError, match=f"^{missing} cannot be found.*apt-get install ffmpeg"):
        check_ready(AudioSource(YOUTUBE))


def test_missing_cookies_are_found_before_any_download(tmp_path):
    with pytest.raises(UserError, match=r"no file of cookies .*absent\.txt"):
        check_ready(AudioSource(YOUTUBE, cookies=str(tmp_path / "absent.txt")))


def test_every_setting_is_in_the_schema_and_the_other_way_round():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    csv_entry = schema["properties"]["datasets"]["additionalProperties"]["allOf"][1]["then"]["properties"]
    assert set(csv_entry["audio"]["properties"]) == {field.name for field in fields(AudioSource)}


@pytest.mark.skipif(not AUDIOCAPS.is_file(), reason="the AudioCaps test captions are not at ../shared/data/audiocaps")
def test_audiocaps_needs_975_clips():
    entry = {
        "path": str(AUDIOCAPS),
        "columns": COLUMNS,
        "seconds_total": 10.0,
        "audio": {"url": YOUTUBE, "start": "start_time"},
    }
    clips = wanted(entry)
    assert len(clips) == len({clip.url for clip in clips}) == 975
    assert clips[0].url == "https://www.youtube.com/watch?v=7fmOlUlwoNg"
    assert clips[0].start_seconds == 20.0
