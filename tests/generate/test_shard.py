"""Generation resumes batch by batch and takes nothing stale back."""

import pandas as pd
import pytest
import torch

from audioptq.audio.clips import read_clip, write_clip
from audioptq.audio.manifest import read_manifest
from audioptq.errors import UserError
from audioptq.files.artifacts import read_parquet, write_parquet
from audioptq.generate.shard import GenerationSettings, generate_shard

COLUMNS = [
    *(
        "clip_id",
        "caption",
        "reference_id",
        "seed",
        "dropped_words",
        "path",
        "sample_rate",
        "n_samples",
        "peak",
        "gain",
    ),
    *("clipped_fraction", "status", "sha256", "seconds", "batch"),
]


class Killed(BaseException):
    """A process that ends in the middle, whatever handlers there are."""


class Decodes(list):
    """Sizes of the batches that the model decoded; the decode that comes after `budget` of them kills the process."""

    budget = 1000


@pytest.fixture
def decoded(tiny_model, monkeypatch):
    calls = Decodes()
    original = type(tiny_model).decode

    def decode(self, latents, n_samples=None):
        if len(calls) >= calls.budget:
            raise Killed
        calls.append(len(latents))
        return original(self, latents, n_samples)

    monkeypatch.setattr(type(tiny_model), "decode", decode)
    return calls


@pytest.fixture
def run(tiny_model, tiny_prompts, make_settings, tmp_path):
    def generated(*, folder="run", prompts=tiny_prompts, seed=3, batch_size=2, made_from=None, bit_depth=24, **changes):
        settings = GenerationSettings(
            make_settings(steps=2, **changes), seed, batch_size, bit_depth, made_from or {"weights": "1", "recipe": "2"}
        )
        manifest, _ = generate_shard(
            tiny_model, prompts, settings, clips_dir=tmp_path / folder / "clips", shard="shard-0"
        )
        return manifest

    return generated


def test_the_manifest_has_the_contracts_columns_and_tells_the_truth(run, tiny_prompts, tmp_path):
    manifest = run()
    assert list(manifest.columns) == COLUMNS
    assert manifest["clip_id"].tolist() == tiny_prompts["clip_id"].tolist()
    assert manifest["batch"].tolist() == [0, 0, 1, 1, 2]
    assert set(manifest["seed"]) == {3}
    assert (manifest["status"] == "ok").all()
    for row in manifest.itertuples():
        assert row.path.startswith("clips/")  # relative, so that the folder can be moved
        audio, sample_rate = read_clip(tmp_path / "run" / row.path)
        assert (audio.shape, sample_rate) == ((1, row.n_samples), row.sample_rate) == ((1, 16384), 16000)
    assert manifest["sha256"].nunique() == 5


def test_words_that_never_reach_the_model_are_counted(run, tiny_prompts):
    prompts = tiny_prompts[:2].assign(caption=["a xylophonist dog barks, zyzzyva", "rain falls"])
    assert run(prompts=prompts)["dropped_words"].tolist() == [2, 0]


def test_the_metadata_can_be_written_and_the_manifest_read_back(tiny_model, tiny_prompts, make_settings, tmp_path):
    settings = GenerationSettings(make_settings(steps=2), 3, 2, 24, {"weights": "1"})
    manifest, metadata = generate_shard(tiny_model, tiny_prompts[:2], settings, clips_dir=tmp_path / "clips", shard="s")
    write_parquet(tmp_path / "shard.parquet", manifest, metadata)
    assert read_parquet(tmp_path / "shard.parquet")[1]["sampler"] == settings.sampler.record()
    for path in read_manifest([tmp_path / "shard.parquet"])["path"]:
        read_clip(path)


def assert_same(ours, theirs):
    pd.testing.assert_frame_equal(ours.drop(columns="seconds"), theirs.drop(columns="seconds"))


def test_a_killed_run_keeps_its_finished_batch_and_ends_like_an_undisturbed_one(run, decoded, tmp_path):
    undisturbed = run(folder="undisturbed")
    assert decoded == [2, 2, 1]
    decoded.clear()
    decoded.budget = 1
    with pytest.raises(Killed):
        run()
    kept = {path.name for path in (tmp_path / "run" / "clips").iterdir()}
    assert kept == {"shard-0-batch-000.parquet", *(path.removeprefix("clips/") for path in undisturbed["path"][:2])}
    decoded.budget = 1000
    resumed = run()
    assert decoded == [2, 2, 1]  # the one before the kill, and the two that were left
    assert_same(resumed, undisturbed)


def test_a_run_killed_while_it_writes_a_batch_generates_that_batch_anew(run, decoded, monkeypatch):
    undisturbed = run(folder="undisturbed")
    decoded.clear()
    written = []

    def dying(path, *args):
        written.append(path)
        if len(written) == 4:  # the second clip of the second batch
            raise Killed
        return write_clip(path, *args)

    monkeypatch.setattr("audioptq.generate.shard.write_clip", dying)
    with pytest.raises(Killed):
        run()
    assert_same(run(), undisturbed)
    assert decoded == [2, 2, 2, 1]


def test_a_finished_run_is_taken_back_whole(run, decoded):
    first = run()
    decoded.clear()
    again = run()
    assert decoded == []
    pd.testing.assert_frame_equal(again, first)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"made_from": {"weights": "other", "recipe": "2"}},
        {"made_from": {"weights": "1", "recipe": "other"}},
        {"cfg_scale": 2.0},
        {"name": "dpmpp-2m"},
        {"sigma_max": 70.0},
        {"bit_depth": 16},
    ],
    ids=str,
)
def test_nothing_stale_is_taken_back(run, decoded, changes):
    first = run()
    decoded.clear()
    again = run(**changes)
    assert decoded == [2, 2, 1]
    if "made_from" not in changes:  # the digests stand for weights; the model here is the same
        assert not set(again["sha256"]) & set(first["sha256"])


@pytest.mark.parametrize(
    ("column", "value"), [("caption", "thunder rumbles"), ("seconds_total", 0.5), ("reference_id", "other")]
)
def test_a_changed_prompt_regenerates_its_batch_alone(run, decoded, tiny_prompts, column, value):
    first = run()
    decoded.clear()
    prompts = tiny_prompts.copy()
    prompts.loc[2, column] = value
    again = run(prompts=prompts)
    assert decoded == [2]
    changed = (again["sha256"] != first["sha256"]).tolist()
    assert changed == [False, False, column != "reference_id", False, False]
    if column != "seconds_total":
        assert again[column].tolist() == prompts[column].tolist()
    else:
        assert again["n_samples"].tolist() == [16384, 16384, 8000, 16384, 16384]


@pytest.mark.parametrize("damage", ["alter", "truncate", "remove"])
@pytest.mark.parametrize("what", ["clip", "record"])
def test_an_altered_or_missing_file_regenerates_its_batch_alone(run, decoded, tmp_path, what, damage):
    first = run()
    decoded.clear()
    path = tmp_path / "run" / (first["path"][3] if what == "clip" else "clips/shard-0-batch-001.parquet")
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[-3] ^= 255  # in the last frame of a FLAC, in the length of a parquet file's footer
        path.write_bytes(content)
    assert_same(run(), first)
    assert decoded == [2]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_batch_size_changes_no_clip_beyond_rounding(run, tmp_path, batch_size):
    first, other = run(folder="first"), run(folder="other", batch_size=batch_size)
    assert_clips_close(tmp_path, first, other)


def test_the_order_changes_no_clip_beyond_rounding(run, tiny_prompts, tmp_path):
    first, other = run(folder="first"), run(folder="other", prompts=tiny_prompts[::-1].reset_index(drop=True))
    assert_clips_close(tmp_path, first, other.set_index("clip_id").loc[first["clip_id"]].reset_index())


def assert_clips_close(tmp_path, first, other):
    for ours, theirs in zip(first.itertuples(), other.itertuples(), strict=True):
        a, b = (
            read_clip(tmp_path / name / row.path)[0] / row.gain for name, row in (("first", ours), ("other", theirs))
        )
        # 1e-4 of the latent (tests/sampling) through the exponential and Griffin-Lim, which amplify it: 1 % of amplitude.
        assert ((a - b) ** 2).mean() <= 1e-4 * (b**2).mean()


def test_a_clip_longer_than_the_models_longest_stops_the_shard_before_it_starts(run, tiny_prompts, tmp_path):
    with pytest.raises(UserError, match=r"at most 1\.024 seconds"):
        run(prompts=tiny_prompts.assign(seconds_total=[1.0, 1.0, 1.0, 1.0, 2.0]))
    assert not (tmp_path / "run").exists()


def test_hostile_ids_stay_in_the_folder_of_clips(run, tiny_prompts, tmp_path):
    prompts = tiny_prompts[:2].assign(clip_id=["../../x", "/etc/passwd"])
    manifest = run(prompts=prompts)
    assert manifest["clip_id"].tolist() == ["../../x", "/etc/passwd"]
    for path in manifest["path"]:
        assert (tmp_path / "run" / path).resolve().parent == (tmp_path / "run" / "clips").resolve()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_clips_without_usable_audio_are_named(run, tiny_model, monkeypatch):
    def decode(_self, latents, n_samples=None):
        audio = torch.zeros(len(latents), 1, 16384)
        audio[0] = torch.nan
        return audio

    monkeypatch.setattr(type(tiny_model), "decode", decode)
    assert run()["status"].tolist() == ["non_finite", "silent"] * 2 + ["non_finite"]
