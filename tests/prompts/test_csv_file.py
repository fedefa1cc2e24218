"""Captions from CSV files arrive as they were written; a file that is not what the config says is explained."""

import csv
import hashlib
import re
import string
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audioptq.audio.clips import clip_file_name, read_clip, write_clip
from audioptq.errors import UserError
from audioptq.files.artifacts import read_parquet, write_parquet
from audioptq.prompts.csv_file import csv_prompts

COLUMNS = {"clip_id": "audiocap_id", "caption": "caption", "reference_id": "youtube_id"}
AUDIOCAPS = Path(__file__).parents[2] / "../shared/data/audiocaps/test.csv"
AWKWARD = [
    'A man says "hello", then laughs',
    "two\nlines",
    "naïve café, дождь 雨",
    "the same",
    "the same",
    "NA",
    "'single', semi; colon\ttab",
    "=1+1",
]


def write_csv(path, rows, header=("audiocap_id", "youtube_id", "caption"), encoding="utf-8"):
    with path.open("w", encoding=encoding, newline="") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


def test_awkward_captions_survive_csv_and_parquet(tmp_path):
    rows = [[f"0{index}", f"yt {index // 2}", caption] for index, caption in enumerate(AWKWARD)]
    prompts = csv_prompts(write_csv(tmp_path / "a.csv", rows), COLUMNS, 10)
    write_parquet(tmp_path / "a.parquet", prompts, {})
    back, _ = read_parquet(tmp_path / "a.parquet")
    assert back["caption"].tolist() == AWKWARD
    assert back["clip_id"].tolist() == [row[0] for row in rows]  # ids stay text: "00" is not 0
    assert back["reference_id"].tolist() == [row[1] for row in rows]
    assert back["seconds_total"].tolist() == [10.0] * len(rows)
    assert back["reference_path"].isna().all()


# csv.reader and pandas both read a bare carriage return as the end of a row in some dialects; captions have none.
CAPTION = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(CAPTION, min_size=1, max_size=5))
def test_any_caption_survives(tmp_path, captions):
    path = write_csv(tmp_path / "a.csv", [[index, index, caption] for index, caption in enumerate(captions)])
    assert csv_prompts(path, COLUMNS, 1)["caption"].tolist() == captions


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["1", "y", "rain"]], encoding="utf-8-sig")
    assert csv_prompts(path, COLUMNS, 1)["clip_id"].tolist() == ["1"]


def test_without_a_reference_column_every_clip_is_its_own(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["1", "y", "rain"], ["2", "y", "rain"]])
    columns = {"clip_id": "audiocap_id", "caption": "caption"}
    assert csv_prompts(path, columns, 1)["reference_id"].tolist() == ["1", "2"]


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["1", "y", "rain"]])
    with pytest.raises(
        UserError, match=r"no column 'captions'.*config names for caption.*Did you mean 'caption'"
    ) as caught:
        csv_prompts(path, {**COLUMNS, "caption": "captions"}, 1)
    assert str(path) in str(caught.value)
    assert "audiocap_id, youtube_id, caption" in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no prompts"),
        ([["1", "y", "rain"], ["2", "y", " "]], "caption is empty in row 2"),
        ([["", "y", "rain"]], "clip_id is empty in row 1"),
        ([["1", "y"]], "caption is empty in row 1"),
        ([["1", "y", "rain"], ["2", "y", "rain"], ["1", "z", "wind"]], "clip_id '1' occurs more than once (1 repeats"),
        ([["1", "y", "rain", " then wind"]], "more values in a row than names in its header"),
        ([["1", "y", "rain"], ["2", "y", "rain", " then wind"]], "cannot be read"),
    ],
)
def test_rows_that_are_no_prompts_are_explained(tmp_path, rows, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        csv_prompts(write_csv(tmp_path / "a.csv", rows), COLUMNS, 1)
    assert "a.csv" in str(caught.value)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_lengths_must_be_above_zero(tmp_path, seconds):
    path = write_csv(tmp_path / "a.csv", [["1", "y", "rain"]])
    with pytest.raises(UserError, match="seconds_total"):
        csv_prompts(path, COLUMNS, seconds)


@pytest.mark.parametrize("content", [None, b"", b"audiocap_id,youtube_id,caption\n1,y,\xff\xfe\n"])
def test_files_that_are_no_text_are_named(tmp_path, content):
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv cannot be read"):
        csv_prompts(path, COLUMNS, 1)


def test_references_are_found_by_id_and_absent_ones_left_null(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    for name in ("y1.wav", "y2.flac"):
        (folder / name).touch()
    rows = [["1", "y1", "rain"], ["2", "y2", "rain"], ["3", "y3", "rain"]]
    prompts = csv_prompts(write_csv(tmp_path / "a.csv", rows), COLUMNS, 1, folder)
    assert prompts["reference_path"].tolist() == [str(folder / "y1.wav"), str(folder / "y2.flac"), None]


@pytest.mark.parametrize(
    "reference_id", ["../secret", "../../secret", "sub/secret", "{tmp}/secret", "..", "x" * 400, "a\0b"]
)
def test_hostile_reference_ids_never_leave_the_folder(tmp_path, reference_id):
    folder = tmp_path / "data" / "audio"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "data", folder / "sub"):
        (place / "secret.wav").touch()
    (folder / "plain.wav").touch()
    path = tmp_path / "a.csv"
    path.write_text(
        f"audiocap_id,youtube_id,caption\n1,{reference_id.replace('{tmp}', str(tmp_path))},rain\n2,plain,rain\n"
    )
    prompts = csv_prompts(path, COLUMNS, 1, folder)
    assert prompts["reference_path"].tolist() == [None, str(folder / "plain.wav")]


def test_references_may_be_of_any_kind_that_can_be_decoded_and_be_named_as_downloads_are(tmp_path):
    folder, ids = tmp_path / "audio", ["a b", "-x", "c", "ü", "d"]
    names = ["a b.mp3", clip_file_name("-x"), "c.wav", "c.flac", "ü.ogg", "d.m4a"]
    folder.mkdir()
    for name in names[:-1]:
        kind = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3"}[name.rpartition(".")[2]]
        soundfile.write(folder / name, np.zeros((4410, 2)), 44100, format=kind)
    (folder / names[-1]).touch()
    path = write_csv(tmp_path / "a.csv", [[index, name, "rain"] for index, name in enumerate(ids)])
    paths = csv_prompts(path, COLUMNS, 1, folder)["reference_path"].tolist()
    assert paths == [str(folder / name) for name in (names[0], names[1], "c.wav", "ü.ogg")] + [None]
    assert all(read_clip(path)[0].shape[0] == 2 for path in paths[:-1])


def test_a_folder_without_any_of_the_references_is_a_mistake(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["1", "y1", "rain"], ["2", "y2", "rain"]])
    with pytest.raises(UserError, match=r"absent cannot be read.*reference_dir"):
        csv_prompts(path, COLUMNS, 1, tmp_path / "absent")
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "1.wav").touch()  # named by the caption's id
    with pytest.raises(
        UserError, match=r"audio holds none of the 2 references \(1 files are in it\).*'y1' with the ending"
    ):
        csv_prompts(path, COLUMNS, 1, tmp_path / "audio")


def test_a_pinned_file_is_the_very_file(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["1", "y", "rain"]])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(csv_prompts(path, COLUMNS, 1, sha256=sha256.upper())) == 1
    path.write_text(path.read_text() + "2,y,wind\n")
    now = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=rf"a\.csv is not the one that the config pins: its SHA-256 is {now}.*{sha256}"):
        csv_prompts(path, COLUMNS, 1, sha256=sha256)


@pytest.mark.parametrize(
    "caption",
    ['A dog, then "thunder"', "naïve café, дождь 雨 🐕", "<script>alert(1)</script> & 'quotes'", "../../etc/passwd"],
)
def test_a_caption_goes_from_file_to_clip_name_to_manifest_unchanged(tmp_path, caption):
    # An id may be a caption too: the worst there is for a file's name.
    prompts = csv_prompts(write_csv(tmp_path / "a.csv", [[caption, caption, caption]]), COLUMNS, 1)
    name = clip_file_name(prompts["clip_id"][0])
    clip = write_clip(tmp_path / "clips" / name, np.full((1, 100), 0.5), 16000, 16)
    assert [path.name for path in (tmp_path / "clips").iterdir()] == [name]
    assert set(name) <= set(string.ascii_letters + string.digits + "-~.")
    write_parquet(tmp_path / "manifest.parquet", prompts.assign(path=f"clips/{name}", sha256=clip.sha256), {})
    row = read_parquet(tmp_path / "manifest.parquet")[0].iloc[0]
    assert [row["clip_id"], row["caption"], row["reference_id"]] == [caption] * 3
    assert read_clip(tmp_path / row["path"])[1] == 16000


@pytest.mark.skipif(not AUDIOCAPS.is_file(), reason="the AudioCaps test captions are not at ../shared/data/audiocaps")
def test_the_published_test_set_arrives_whole():
    prompts = csv_prompts(AUDIOCAPS, COLUMNS, 10.0)
    with AUDIOCAPS.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert prompts["caption"].tolist() == [row["caption"] for row in rows]
    assert prompts["clip_id"].tolist() == [row["audiocap_id"] for row in rows]
    assert len(prompts) == 4875
    assert prompts["reference_id"].nunique() == 975
    assert prompts["caption"].nunique() == 4633
