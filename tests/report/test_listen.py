import base64
import io

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from audioptq.audio.clips import ListedClip
from audioptq.errors import DamagedArtifactError
from audioptq.report.measure.inputs import read_manifests
from audioptq.report.page import listen
from audioptq.report.page.listen import with_distances
from audioptq.score.table import METRICS


def tone(hertz, rate, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def decode(address):
    return base64.b64decode(address.partition(",")[2])


def test_audio_survives_to_the_last_of_16_bits():
    samples = tone(440, listen.SAMPLE_RATE)
    read, rate = soundfile.read(io.BytesIO(listen.encode_audio(samples)))
    assert rate == listen.SAMPLE_RATE
    # Rounding to 16 bits moves a sample by at most half a step of 2^-15; libsndfile truncates, hence a whole one.
    assert np.abs(read - samples).max() <= 2**-15


def test_stereo_44k_becomes_mono_16k(tmp_path):
    stereo = np.column_stack([tone(1000, 44_100), np.zeros(44_100)])
    soundfile.write(tmp_path / "a.wav", stereo, 44_100)
    mono = listen.load_mono(ListedClip(str(tmp_path / "a.wav")))
    assert mono.shape == (16_000,)
    middle = slice(1000, -1000)
    assert np.abs(mono - tone(1000, 16_000) / 2)[middle].max() < 1e-3


def test_long_clips_are_cut(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000 * 20), 8000)
    assert len(listen.load_mono(ListedClip(str(tmp_path / "a.wav")))) == listen.MAX_SECONDS * listen.SAMPLE_RATE


def test_broken_clip_is_named(tmp_path):
    (tmp_path / "a.flac").write_bytes(b"fLaC nothing")
    with pytest.raises(DamagedArtifactError, match=r"a\.flac"):
        listen.load_mono(ListedClip(str(tmp_path / "a.flac")))


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 5000.0])
def test_spectrogram_peaks_at_the_tone(hertz):
    decibels = listen.spectrogram_db(tone(hertz, listen.SAMPLE_RATE))
    width, height = listen.PICTURE_SIZE
    assert decibels.shape == (height, width)
    edges = np.geomspace(listen.LOWEST_HZ, listen.SAMPLE_RATE / 2, height + 1)
    row = decibels[:, width // 2].argmax()
    # One bin of the transform is 15.6 Hz wide.
    assert edges[row] - 16 <= hertz <= edges[row + 1] + 16


def test_spectrogram_of_a_very_short_clip():
    assert np.isfinite(listen.spectrogram_db(np.zeros(10))).all()


def test_picture_is_bright_where_it_is_loud_and_low_is_below():
    decibels = np.full(listen.PICTURE_SIZE[::-1], -200.0)
    decibels[0] = 0.0
    image = Image.open(io.BytesIO(listen.picture(decibels, top_db=0.0))).convert("L")
    assert image.size == listen.PICTURE_SIZE
    assert np.asarray(image)[-1].min() > 200
    assert np.asarray(image)[:-1].max() < 20


def examples(inputs, max_bytes=10**7, clip_ids=("clip-00", "clip-05")):
    prompts = pd.read_parquet(inputs.prompts)
    return listen.build_examples(
        clip_ids, prompts, read_manifests(inputs.manifests), list(inputs.recipes), 0, max_bytes
    )


def test_examples_hold_each_recipe_in_order(built):
    found, left_out = examples(built[0])
    assert not left_out
    assert [clip.name for clip in found[0].clips] == ["fp32", "w8a8_sqd", "w4a8_rtn", "w4a4_sqs"]
    samples, rate = soundfile.read(io.BytesIO(decode(found[0].clips[0].audio)))
    assert (len(samples), rate) == (16_000, 16_000)
    assert decode(found[0].clips[0].picture).startswith(b"\x89PNG")


def test_silent_clip_is_shown_as_absent(built):
    silent = examples(built[0])[0][1].clips[3]
    assert (silent.name, silent.audio, silent.picture, silent.note) == ("w4a4_sqs", "", "", "silent")


def test_examples_beyond_the_budget_are_named(built):
    one = examples(built[0], clip_ids=("clip-00",))[0][0]
    size = sum(len(clip.audio) + len(clip.picture) for clip in one.clips)
    found, left_out = examples(built[0], max_bytes=size)
    assert [example.clip_id for example in found] == ["clip-00"]
    assert left_out == ["clip-05"]


def test_reference_recording_comes_last(built, tmp_path):
    soundfile.write(tmp_path / "ref.wav", tone(300, 16_000), 16_000)
    prompts = pd.read_parquet(built[0].prompts).assign(reference_path=str(tmp_path / "ref.wav"))
    manifest = read_manifests(built[0].manifests)
    found, _ = listen.build_examples(["clip-00"], prompts, manifest, ["fp32"], 0, 10**7)
    assert [clip.name for clip in found[0].clips] == ["fp32", "reference"]


def test_each_clip_carries_its_own_distance():
    clips = (listen.Clip("fp32", "a", "p"), listen.Clip("w8", "a", "p"), listen.Clip("w4", "", "", "silent"))
    scores = pd.DataFrame(
        {
            "recipe": ["w8", "w8", "w4"],
            "clip_id": ["x", "y", "x"],
            "seed": 0,
            "metric": "mcd_db",
            "value": [2.25, 9.0, np.nan],
        }
    )
    noted = with_distances([listen.Example("x", "caption", clips)], scores, {"mcd_db": METRICS["mcd_db"]}, seed=0)
    assert [clip.note for clip in noted[0].clips] == ["", "MCD 2.25 dB", "silent"]
