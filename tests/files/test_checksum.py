"""Whatever is altered in a file of ours shows: every bit of it, in every kind of file."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from audioptq.errors import DamagedArtifactError
from audioptq.files import checksum as seal
from audioptq.files.artifacts import read_json, read_parquet, read_tensors, write_json, write_parquet, write_tensors

METADATA = {"recipe": "w4a8", "zeta": "after the seal"}
VALUES = np.random.default_rng(0).standard_normal(12).astype(np.float32)


def parquet(path):
    write_parquet(path, pd.DataFrame({"clip_id": list("abcdefghijkl"), "value": VALUES}), METADATA)


def safetensors(path):
    write_tensors(path, {"a": torch.from_numpy(VALUES), "b": torch.arange(3)}, METADATA)


def record(path):
    write_json(path, METADATA)


KINDS = {"parquet": (parquet, read_parquet), "safetensors": (safetensors, read_tensors), "json": (record, read_json)}


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_passes(kind, tmp_path):
    write, read = KINDS[kind]
    path = tmp_path / f"a.{kind}"
    write(path)
    read(path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(DamagedArtifactError, match=re.escape(f"{path} cannot be read")):
            read(path)


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_and_no_addition_passes(kind, tmp_path):
    write, read = KINDS[kind]
    path = tmp_path / f"a.{kind}"
    write(path)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"\0", whole + whole):
        path.write_bytes(content)
        with pytest.raises(DamagedArtifactError, match="cannot be read"):
            read(path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_content_gives_the_same_file(kind, tmp_path):
    for name in ("a", "b"):
        KINDS[kind][0](tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_of_others_are_read_where_the_caller_says_so(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "a.json").write_text('{"a": 1}')
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert read_json(tmp_path / "a.json", foreign=True) == {"a": 1}
    assert read_tensors(tmp_path / "a.safetensors", foreign=True)[0]["a"].tolist() == [1, 1]
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    for read, name in ((read_json, "a.json"), (read_tensors, "a.safetensors"), (read_parquet, "a.parquet")):
        with pytest.raises(DamagedArtifactError, match="carries no digest"):
            read(tmp_path / name)


def test_a_seal_on_a_foreign_file_is_checked_all_the_same(tmp_path):
    path = tmp_path / "a.json"
    record(path)
    path.write_text(path.read_text().replace("w4a8", "w4a4"))
    with pytest.raises(DamagedArtifactError, match="do not match the digest"):
        read_json(path, foreign=True)


def test_other_programs_get_their_record_without_a_seal(tmp_path):
    write_json(tmp_path / "a.json", METADATA, sealed=False)
    assert json.loads((tmp_path / "a.json").read_text()) == METADATA


@pytest.mark.parametrize("before", [0, 1, 30, 63, 64, 79, 80, 81, 200])
def test_a_seal_is_found_wherever_blocks_of_the_file_begin(before, tmp_path, monkeypatch):
    monkeypatch.setattr(seal, "_BLOCK_BYTES", 64)
    path, place = tmp_path / "a", seal.open_seal("metadata")
    path.write_bytes(b"x" * before + place.encode() + b"y" * 100)
    seal.close_seal(path, place)
    assert seal.is_sealed(path)
    whole = path.read_bytes()
    monkeypatch.setattr(seal, "_BLOCK_BYTES", 1 << 20)
    assert seal.is_sealed(path)
    path.write_bytes(whole[:-1] + b"z")
    with pytest.raises(ValueError, match="do not match"):
        seal.is_sealed(path)


LOOKALIKES = ["audioptq-sha256:", "audioptq-sha256:" + "0" * 64, "audioptq-sha256:" + "audioptq-sha256:" + "e" * 64]


@pytest.mark.parametrize("caption", LOOKALIKES)
def test_a_caption_that_looks_like_a_seal_changes_nothing(caption, tmp_path):
    frame, metadata = pd.DataFrame({"caption": [caption, caption + caption]}), {"caption": caption, "zeta": [caption]}
    write_parquet(tmp_path / "a.parquet", frame, metadata)
    write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(1)}, metadata)
    write_json(tmp_path / "a.json", metadata)
    found, found_metadata = read_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(found, frame)
    assert found_metadata == metadata
    assert read_tensors(tmp_path / "a.safetensors")[1] == metadata
    assert read_json(tmp_path / "a.json") == metadata


def test_a_file_without_a_place_for_it_cannot_be_sealed(tmp_path):
    (tmp_path / "a").write_bytes(b"nothing")
    assert not seal.is_sealed(tmp_path / "a")
    with pytest.raises(ValueError, match="no place for a seal"):
        seal.close_seal(tmp_path / "a", seal.open_seal("metadata"))
