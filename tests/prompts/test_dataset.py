"""The data sets of a config: soundscapes with disjoint splits, and CSV files."""

import pandas as pd
import pytest

from audioptq.audio.clips import read_clip
from audioptq.errors import UserError
from audioptq.prompts.dataset import count_clips, make_prompts
from audioptq.prompts.synthesised import soundscape_prompts
from audioptq.soundscapes import CLASSES, KINDS

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
