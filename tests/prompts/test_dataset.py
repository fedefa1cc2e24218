"""The data sets of a config: soundscapes with disjoint splits, and CSV files."""

from pathlib import Path

import pandas as pd
import pytest

from audioptq.audio.clips import read_clip
from audioptq.errors import UserError
from audioptq.files.artifacts import digest
from audioptq.prompts.dataset import count_clips, csv_rows, make_prompts
from audioptq.prompts.synthesised import soundscape_prompts
from audioptq.soundscapes import CLASSES, KINDS

ROOT = Path(__file__).parents[2]
AUDIOCAPS = ROOT / "../shared/data/audiocaps"
PUBLISHED = {
    "test.csv": (
        "b91c4b7ded2f4f6e7db5b9c4983dc1e1dca3d556f505b61e3fd65cac7e1c638a",
        {"clips": 4875, "references": 975},
    ),
    "val.csv": ("dab1c96641d5f3053ddb99dca3949450da9a75737bda53e11cc0aa8b102be0c3", {"clips": 2475, "references": 495}),
}
SOUNDSCAPES = {"kind": "soundscapes", "n_clips": 6, "seed": 4, "seconds_total": 1.5}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    return make_prompts(SOUNDSCAPES, {"n_prompts": 3, "seed": 5}, folder)


def test_soundscapes_have_references_of_their_length(made):
    evaluation, calibration = made
    assert (len(evaluation), len(calibration), count_clips(SOUNDSCAPES)) == (6, 3, 6)
    for row in pd.concat(made).itertuples():
        audio, sample_rate = read_clip(row.reference_path)
        assert audio.shape == (1, round(1.5 * sample_rate))
        assert abs(audio).max() > 0.5
        assert set(row.labels.split("|")) <= set(CLASSES)
        assert row.kind in KINDS


def test_calibration_and_evaluation_share_no_caption(made):
    evaluation, calibration = made
    assert not set(evaluation["caption"]) & set(calibration["caption"])
    assert not set(evaluation["clip_id"]) & set(calibration["clip_id"])


def test_soundscapes_are_the_same_again_and_more_of_them_begin_alike(made, tmp_path):
    more = soundscape_prompts(7, split="evaluation", seed=4, seconds_total=1.5, audio_dir=tmp_path)
    kept = ["clip_id", "caption", "labels", "kind"]
    pd.testing.assert_frame_equal(more[kept].iloc[:6], made[0][kept])
    for ours, theirs in zip(more["reference_path"][:6], made[0]["reference_path"], strict=True):
        assert (read_clip(ours)[0] == read_clip(theirs)[0]).all()


def test_single_scenes_take_the_classes_in_turn(tmp_path):
    prompts = soundscape_prompts(3, split="evaluation", seed=0, seconds_total=1.0, audio_dir=tmp_path, kind="single")
    assert prompts["labels"].tolist() == list(CLASSES[:3])


@pytest.fixture
def dataset(tmp_path):
    rows = [f"{index},sound {index}" for index in range(20)]
    (tmp_path / "a.csv").write_text("\n".join(["id,text", *rows]))
    columns = {"clip_id": "id", "caption": "text"}
    return {"kind": "csv", "path": str(tmp_path / "a.csv"), "columns": columns, "seconds_total": 10.0}


@pytest.mark.parametrize(("max_clips", "expected"), [(None, 20), (100, 20), (20, 20), (7, 7)])
def test_a_csv_file_gives_all_clips_or_as_many_as_asked(dataset, tmp_path, max_clips, expected):
    dataset = {**dataset, "max_clips": max_clips}
    evaluation, calibration = make_prompts(dataset, {"n_prompts": 10, "seed": 1}, tmp_path)
    assert len(evaluation) == count_clips(dataset) == expected
    assert len(calibration) == 10  # of the whole file, even when fewer clips are evaluated
    assert set(calibration["caption"]) <= {f"sound {index}" for index in range(20)}


def test_too_many_calibration_prompts_are_refused(dataset, tmp_path):
    with pytest.raises(UserError, match="between 1 and 20"):
        make_prompts(dataset, {"n_prompts": 21, "seed": 1}, tmp_path)


def test_a_csv_file_that_is_not_there_is_found_before_any_job(dataset):
    with pytest.raises(UserError, match="cannot be read"):
        count_clips({**dataset, "path": "absent.csv"})


@pytest.fixture
def shared(tmp_path):
    """Twelve captions of four references, of which two have audio."""
    rows = [f"{index},r{index % 4},sound {index}" for index in range(12)]
    (tmp_path / "a.csv").write_text("\n".join(["id,ref,text", *rows]))
    (tmp_path / "audio").mkdir()
    for name in ("r1.wav", "r3.flac"):
        (tmp_path / "audio" / name).touch()
    columns = {"clip_id": "id", "caption": "text", "reference_id": "ref"}
    return {"kind": "csv", "path": str(tmp_path / "a.csv"), "columns": columns, "seconds_total": 10.0}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("r1\nr0\n", ["0", "1", "4", "5", "8", "9"]),
        ("# a remark\n\n  r3  \n", ["3", "7", "11"]),
        ("7\n2", ["2", "7"]),
    ],
)
def test_a_named_subset_keeps_every_caption_of_its_references_or_its_clips(shared, tmp_path, lines, expected):
    (tmp_path / "ids.txt").write_text(lines)
    evaluation, calibration = make_prompts(
        shared | {"subset": str(tmp_path / "ids.txt")}, {"n_prompts": 12, "seed": 0}, tmp_path
    )
    assert evaluation["clip_id"].tolist() == expected
    assert len(calibration) == 12  # of the whole file


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "ids.txt cannot be read"),
        ("", "ids.txt names none"),
        ("# only\n", "ids.txt names none"),
        ("r1\nr9\nr8\n", "2 of 3 that the prompts have not as reference_id, such as 'r8'"),
        ("r1\n7\n", "1 of 2"),
    ],
)
def test_subsets_that_do_not_fit_are_explained(shared, tmp_path, lines, message):
    if lines is not None:
        (tmp_path / "ids.txt").write_text(lines)
    with pytest.raises(UserError, match=message):
        count_clips(shared | {"subset": str(tmp_path / "ids.txt")})


def test_only_prompts_with_reference_audio_are_kept_on_request(shared, tmp_path):
    with_audio = shared | {"reference_dir": str(tmp_path / "audio")}
    assert count_clips(with_audio) == 12
    evaluation, _ = make_prompts(with_audio | {"available_only": True}, {"n_prompts": 12, "seed": 0}, tmp_path)
    assert evaluation["reference_id"].tolist() == ["r1", "r3"] * 3
    assert evaluation["reference_path"].notna().all()
    with pytest.raises(UserError, match=r"No prompt .* has reference audio.*reference_dir"):
        count_clips(shared | {"available_only": True})


def test_expected_counts_are_those_after_the_subset(shared, tmp_path):
    (tmp_path / "ids.txt").write_text("r1\nr0\n")
    subset = {"subset": str(tmp_path / "ids.txt")}
    assert count_clips(shared | {"expect": {"clips": 12, "references": 4}, "max_clips": 3}) == 3
    assert count_clips(shared | subset | {"expect": {"clips": 6, "references": 2}}) == 6
    with pytest.raises(UserError, match=r"a\.csv has 6 captions of 2 references, and .*expect has references: 4"):
        count_clips(shared | subset | {"expect": {"references": 4}})


def test_rows_of_the_evaluated_prompts_have_every_column(shared, tmp_path):
    (tmp_path / "ids.txt").write_text("9\n2\n")
    rows = csv_rows(shared | {"subset": str(tmp_path / "ids.txt")})
    assert rows.to_dict("list") == {"id": ["2", "9"], "ref": ["r2", "r1"], "text": ["sound 2", "sound 9"]}


def audiocaps(name, **changes):
    columns = {"clip_id": "audiocap_id", "caption": "caption", "reference_id": "youtube_id"}
    sha256, expect = PUBLISHED[name]
    path = str(AUDIOCAPS / name)
    return {
        "kind": "csv",
        "path": path,
        "columns": columns,
        "seconds_total": 10.0,
        "sha256": sha256,
        "expect": expect,
    } | changes


needs_audiocaps = pytest.mark.skipif(
    not AUDIOCAPS.is_dir(), reason="the AudioCaps captions are not at ../shared/data/audiocaps"
)


@needs_audiocaps
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_files_have_their_digest_and_counts(name):
    assert count_clips(audiocaps(name)) == PUBLISHED[name][1]["clips"]


@needs_audiocaps
def test_the_other_published_file_is_refused():
    with pytest.raises(UserError, match="not the one that the config pins"):
        count_clips(audiocaps("test.csv", path=str(AUDIOCAPS / "val.csv")))


@needs_audiocaps
def test_the_papers_set_is_881_of_the_975_clips():
    subset = str(ROOT / "workflow/audiocaps_paper_881.txt")
    assert count_clips(audiocaps("test.csv", subset=subset, expect={"clips": 4405, "references": 881})) == 4405
    everything = csv_rows(audiocaps("test.csv"))["youtube_id"].unique()
    kept = csv_rows(audiocaps("test.csv", subset=subset, expect={}))["youtube_id"].unique()
    assert len(everything) - len(kept) == 94
    # Three that stable-audio-metrics lists as not available.
    assert {"gQMTOKsCIyk", "-mhFGevxLUg", "RNBoH2LHQEM"} <= set(everything) - set(kept)


@needs_audiocaps
def test_the_fifty_calibration_captions_are_the_same_everywhere():
    draws = [make_prompts(audiocaps("test.csv", **change), {"n_prompts": 50, "seed": 1000}, ".")[1] for change in (
        {}, {"max_clips": 7}, {"subset": str(ROOT / "workflow/audiocaps_paper_881.txt"), "expect": {}}
    )]  # fmt: skip
    assert all(draw["clip_id"].tolist() == draws[0]["clip_id"].tolist() for draw in draws)
    assert draws[0]["clip_id"].nunique() == 50
    # From the shell, over the file's first column: printf '1000:%s' "$id" | sha256sum; sort; the first fifty.
    assert digest(draws[0]["clip_id"].tolist()) == "a852db095806b4f941a82600c38a8564094ff8869e29d04f4ea0c2804bb576e3"
