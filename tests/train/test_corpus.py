"""The corpus: timings that mean something, and shards that are the same however they are cut."""

import numpy as np
import pandas as pd
import pytest
import torch

from audioptq.audio.log_mel import POWER_FLOOR
from audioptq.files.artifacts import read_tensor_metadata
from audioptq.soundscapes import CLASSES, split_of
from audioptq.train.corpus import CLIP_SECONDS, Corpus, crop, draw_timing, synthesise_shard
from audioptq.train.mini_config import CLIP_SAMPLES, MAX_SECONDS


def test_timings_lie_within_the_sound():
    timings = [draw_timing(np.random.default_rng([0, index])) for index in range(4000)]
    starts, totals = np.array(timings).T
    full = (starts == 0) & (totals == CLIP_SECONDS)
    short = totals < CLIP_SECONDS
    # 70, 15 and 15 %, with deviations of 0.7 and 0.6 %; five of each.
    assert full.mean() == pytest.approx(0.7, abs=0.036)
    assert short.mean() == pytest.approx(0.15, abs=0.028)
    assert (starts[short] == 0).all()
    assert totals.min() >= 1.5
    assert totals.max() <= MAX_SECONDS + 0.0005  # rounded to milliseconds
    long = totals > CLIP_SECONDS
    assert (starts[long] + CLIP_SECONDS <= totals[long] + 0.001).all()
    assert starts[long].max() > 3.0


def test_a_crop_starts_where_it_is_told_and_is_padded_with_silence():
    sound = np.arange(1, 70001.0)
    assert crop(sound, 0.25)[0] == 4001
    assert len(crop(sound, 0.25)) == CLIP_SAMPLES
    tail = crop(sound, 1.0)
    assert tail[54000 - 1] == 70000
    assert not tail[54000:].any()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for name, first, n_clips in (("all", 4, 6), ("a", 4, 2), ("b", 6, 4)):
        synthesise_shard(folder / f"{name}.safetensors", split="train", first=first, n_clips=n_clips, seed=9)
    return folder


def test_shards_are_the_same_however_the_corpus_is_cut(folder):
    whole = Corpus.load([folder / "all.safetensors"])
    parts = Corpus.load([folder / "a.safetensors", folder / "b.safetensors"])
    assert torch.equal(whole.log_mel, parts.log_mel)
    pd.testing.assert_frame_equal(whole.scenes, parts.scenes)


def test_shards_are_the_same_again_and_another_seed_is_not(folder, tmp_path):
    for name, seed in (("again", 9), ("other", 10)):
        synthesise_shard(tmp_path / f"{name}.safetensors", split="train", first=4, n_clips=2, seed=seed)
    first, again, other = (
        Corpus.load([path]) for path in (folder / "a.safetensors", *sorted(tmp_path.glob("*.safetensors")))
    )
    assert torch.equal(first.log_mel, again.log_mel)
    assert not torch.equal(first.log_mel, other.log_mel)
    assert (tmp_path / "again.parquet").read_bytes() == (folder / "a.parquet").read_bytes()


def test_rows_say_what_is_heard(folder):
    corpus = Corpus.load([folder / "all.safetensors"])
    assert corpus.log_mel.shape == (6, CLIP_SAMPLES // 256, 64)
    assert corpus.log_mel.dtype == torch.float16
    assert read_tensor_metadata(folder / "all.safetensors") == {"split": "train", "first": 4, "n_clips": 6, "seed": 9}
    for row, scene in corpus.scenes.iterrows():
        assert set(scene["labels"].split("|")) <= set(CLASSES)
        assert split_of(scene["caption"]) == "train"
        frames = corpus.log_mel[row].float()
        assert frames.max() > np.log(POWER_FLOOR) + 5
        end = int(scene["seconds_total"] * 16000 / 256) + 3
        if end < len(frames):  # the sound ends early; what follows is silence
            torch.testing.assert_close(
                frames[end:], torch.full_like(frames[end:], np.log(POWER_FLOOR)), rtol=1e-3, atol=0
            )
