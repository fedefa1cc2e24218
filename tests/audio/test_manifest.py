"""Manifests: shards joined, paths that move with the folder, and shards that do not fit together."""

import pandas as pd
import pytest

from audioptq.audio.manifest import by_recipe, compute_by_recipe, failed_clips, read_manifest
from audioptq.errors import DamagedArtifactError
from audioptq.files.artifacts import write_parquet


def shard(path, clip_ids, **metadata):
    frame = pd.DataFrame({"clip_id": clip_ids, "path": [f"clips/{clip_id}.flac" for clip_id in clip_ids]})
    frame = frame.assign(caption="rain", seed=1, sample_rate=16000, n_samples=10, gain=1.0, status="ok")
    write_parquet(path, frame, metadata)
    return path


def test_shards_are_joined_and_paths_count_from_their_folder(tmp_path):
    for folder in ("here", "moved"):
        paths = [
            shard(tmp_path / folder / f"shard-{index}.parquet", ids) for index, ids in enumerate([["a", "b"], ["c"]])
        ]
        manifest = read_manifest(paths)
        assert manifest["clip_id"].tolist() == ["a", "b", "c"]
        assert manifest["path"].tolist() == [str(tmp_path / folder / f"clips/{name}.flac") for name in "abc"]


def test_a_clip_in_two_shards_is_named(tmp_path):
    paths = [shard(tmp_path / "0.parquet", ["a", "b"]), shard(tmp_path / "1.parquet", ["b"])]
    with pytest.raises(DamagedArtifactError, match="'b' occurs twice"):
        read_manifest(paths)


def test_a_shard_without_a_column_is_named(tmp_path):
    write_parquet(tmp_path / "0.parquet", pd.DataFrame({"clip_id": ["a"]}), {})
    with pytest.raises(DamagedArtifactError, match=r"0\.parquet cannot be read.*gain"):
        read_manifest([tmp_path / "0.parquet"])


def test_clips_without_usable_audio_are_named_and_unknown_words_refused():
    manifest = pd.DataFrame({"clip_id": list("abcd"), "status": ["ok", "clipped", "silent", "non_finite"]})
    assert failed_clips(manifest) == {"c": "silent", "d": "non_finite"}
    odd = manifest.assign(status="fine")
    odd.attrs["source"] = "x.parquet"
    with pytest.raises(DamagedArtifactError, match=r"x\.parquet .*has the status 'fine'"):
        failed_clips(odd)


def test_manifests_are_grouped_by_the_recipe_they_name(tmp_path):
    names = ["fp32", "w8a8", "fp32"]
    paths = [shard(tmp_path / f"{index}.parquet", [str(index)], recipe=name) for index, name in enumerate(names)]
    assert by_recipe(paths) == {"fp32": [str(paths[0]), str(paths[2])], "w8a8": [str(paths[1])]}
    with pytest.raises(DamagedArtifactError, match="does not say its recipe"):
        by_recipe([shard(tmp_path / "x.parquet", ["x"])])


def test_a_recipe_computed_on_integers_only_if_all_its_shards_did(tmp_path):
    computes = {
        "float": ["float"],
        "integer": ["integer", "integer"],
        "mixed": ["integer", "simulated"],
        "silent": [None],
    }
    manifests = {
        recipe: [
            shard(tmp_path / f"{recipe}-{i}.parquet", ["a"], **({"compute": said} if said else {}))
            for i, said in enumerate(shards)
        ]
        for recipe, shards in computes.items()
    }
    assert compute_by_recipe(manifests) == {"float": "float", "integer": "integer", "mixed": "simulated"}
