"""Clips: safe names, lossless round trips, and a status for what cannot be scored."""

import os

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audioptq.audio.clips import ListedClip, clip_file_name, read_clip, write_clip
from audioptq.errors import DamagedArtifactError
from audioptq.files.artifacts import file_digest

RATE_HZ = 16000
HOSTILE = st.text(max_size=300) | st.sampled_from(
    [
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "-rf",
        "~",
        "a\0b",
        "COM1.flac",
        ".hidden",
        "x" * 500,
        "дождь",
        "a b",
        "a-b",
        "A b",
    ]
)


@given(HOSTILE)
def test_names_are_plain_whatever_the_id(clip_id):
    name = clip_file_name(clip_id)
    assert name == os.path.basename(name) == name.encode("ascii").decode()
    assert name.endswith(".flac")
    assert len(name) <= 80
    assert name[0].isalnum()
    assert not set(name) & set('/\\:*?"<>|\0\n ')


@given(st.sets(HOSTILE, min_size=2, max_size=20))
def test_different_ids_have_different_names(clip_ids):
    assert len({clip_file_name(clip_id) for clip_id in clip_ids}) == len(clip_ids)


@given(HOSTILE)
def test_no_id_can_take_the_name_of_another(clip_id):
    stem = clip_file_name(clip_id).removesuffix(".flac")
    assert stem == clip_id or clip_file_name(stem) != clip_file_name(clip_id)


def test_plain_ids_stay_readable():
    assert clip_file_name("evaluation-11-00042") == "evaluation-11-00042.flac"
    assert clip_file_name("Y'abc.def").startswith("Y-abc-def~")


@pytest.mark.parametrize(("bit_depth", "channels"), [(24, 1), (24, 2), (16, 1)])
@pytest.mark.parametrize("level", [0.003, 0.7, 12.5])
def test_the_gain_undoes_the_normalisation_within_one_step(tmp_path, bit_depth, channels, level):
    audio = level * np.random.default_rng(1).uniform(-1, 1, (channels, 4000))
    record = write_clip(tmp_path / "a.flac", audio, RATE_HZ, bit_depth)
    stored, sample_rate = read_clip(tmp_path / "a.flac")
    assert (sample_rate, record.sample_rate, record.n_samples, record.status) == (RATE_HZ, RATE_HZ, 4000, "ok")
    assert record.peak == np.abs(audio).max()
    assert record.sha256 == file_digest(tmp_path / "a.flac")
    assert soundfile.info(tmp_path / "a.flac").subtype == f"PCM_{bit_depth}"
    # One step of the stored integers: rounding is half a step, full scale (+1) saturates one step lower; then float32.
    step = 2.0 ** (1 - bit_depth) + 2.0**-24
    assert np.abs(stored / record.gain - audio).max() <= step / record.gain


def test_silence_is_named_and_stored_as_silence(tmp_path):
    quiet = 0.99e-4 * np.ones((1, 100))
    for audio in (np.zeros((1, 100)), quiet):
        record = write_clip(tmp_path / "a.flac", audio, RATE_HZ, 24)
        assert (record.status, record.gain, record.clipped_fraction) == ("silent", 1.0, 0.0)
        assert not read_clip(tmp_path / "a.flac")[0].any()
    assert write_clip(tmp_path / "a.flac", 1.1 * quiet, RATE_HZ, 24).status != "silent"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_and_stored_as_silence(tmp_path, sine, value):
    audio = sine(440)
    audio[0, 7] = value
    record = write_clip(tmp_path / "a.flac", audio, RATE_HZ, 24)
    assert (record.status, record.peak, record.gain) == ("non_finite", 0.0, 1.0)
    stored, _ = read_clip(tmp_path / "a.flac")
    assert stored.shape == audio.shape
    assert not stored.any()


@pytest.mark.parametrize("ceiling", [0.05, 1.0, 3.0])
def test_flat_tops_are_counted_at_any_ceiling(tmp_path, sine, ceiling):
    loud = sine(313, level=2 * ceiling)
    record = write_clip(tmp_path / "a.flac", loud.clip(-ceiling, ceiling), RATE_HZ, 24)
    assert record.status == "clipped"
    # |sin| is above one half for two thirds of the time.
    assert record.clipped_fraction == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.parametrize("hz", [1000, 4000, 313.7])
def test_a_tone_is_not_clipped_though_every_period_may_reach_the_peak(tmp_path, sine, hz):
    record = write_clip(tmp_path / "a.flac", sine(hz), RATE_HZ, 24)
    assert (record.status, record.clipped_fraction) == ("ok", 0.0)


def test_damaged_and_missing_clips_are_named(tmp_path, sine):
    path = tmp_path / "a.flac"
    with pytest.raises(DamagedArtifactError, match=r"a\.flac cannot be read"):
        read_clip(path)
    write_clip(path, sine(440), RATE_HZ, 24)
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DamagedArtifactError, match=r"a\.flac cannot be read"):
        read_clip(path)


def test_a_clip_cut_in_its_middle_is_named(tmp_path):
    path = tmp_path / "a.flac"
    write_clip(path, np.random.default_rng(0).uniform(-1, 1, (1, 40000)), RATE_HZ, 24)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedArtifactError, match=r"a\.flac cannot be read"):
        read_clip(path)


@pytest.mark.parametrize("use", [ListedClip.read, ListedClip.digest])
def test_a_clip_that_is_not_the_listed_one_is_named_with_its_list(tmp_path, use, sine):
    path = tmp_path / "a.flac"
    written = write_clip(path, sine(440.0), RATE_HZ, 24)
    listed = ListedClip(str(path), written.sha256, "shard-0000.parquet")
    use(listed)
    other = write_clip(path, sine(440.0, level=0.4999) + sine(441.0, level=1e-5), RATE_HZ, 24)  # as whole as the first
    assert other.sha256 != written.sha256
    with pytest.raises(
        DamagedArtifactError, match=r"a\.flac cannot be read.*Delete shard-0000\.parquet, which lists it"
    ):
        use(listed)
    path.unlink()
    with pytest.raises(DamagedArtifactError, match=r"a\.flac cannot be read.*Delete shard-0000\.parquet"):
        use(listed)


def test_a_row_may_know_nothing_but_the_path(tmp_path):
    assert ListedClip.of({"path": "a.flac", "sha256": None, "listed_in": float("nan")}) == ListedClip("a.flac")
