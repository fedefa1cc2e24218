"""A file that exists is whole, says how it was made, and a damaged one is named."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files import artifacts, atomic
from audioptq.files.artifacts import (
    atomic_path,
    read_json,
    read_parquet,
    read_tensors,
    write_json,
    write_parquet,
    write_tensors,
)

METADATA = {"recipe": "w4a8", "sigmas": [80.0, 0.5], "caption": 'naïve "дождь", 雨\n', "nested": {"b": None, "a": True}}
FRAME = pd.DataFrame({"clip_id": ["ü", 'a,"1"'], "value": [0.25, -1.0]})


@pytest.mark.parametrize("error", [RuntimeError("a bug"), UserError("a mistake"), KeyboardInterrupt()])
def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "deep" / "a.txt"
    artifacts.write_text(path, "old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        write_half()
    assert caught.value is error
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_the_final_name_never_shows_a_part(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent  # a rename across file systems is not atomic
    assert path.read_text() == "half"


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "disk is full"), (errno.EACCES, "No permission")]
)
def test_the_systems_refusals_are_explained(tmp_path, monkeypatch, code, words):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def refuse(_descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match=words) as caught:
        write_json(path, {"a": 2})
    assert str(path) in str(caught.value)
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_recognised_behind_other_libraries_errors(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    with pytest.raises(UserError, match="disk is full"), atomic_path(path):  # safetensors' wording
        raise ValueError("Error while serializing: I/O error: No space left on device (os error 28)")

    def refuse(_descriptor):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match="disk is full"), atomic_path(path):  # libsndfile's wording
        raise RuntimeError("System error.")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_explained(tmp_path, monkeypatch):
    def refuse(_path, **_options):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(artifacts.Path, "mkdir", refuse)
    with pytest.raises(UserError, match="No permission to write") as caught:
        write_json(tmp_path / "sub" / "a.json", {})
    assert str(tmp_path / "sub" / "a.json") in str(caught.value)


def test_other_system_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a") as temporary:
        (temporary.parent / "absent").read_text()


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_mode_follows_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(1)}, {})  # safetensors itself always writes 0600
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~mask}


def test_parquet_keeps_values_and_metadata(tmp_path):
    write_parquet(tmp_path / "a.parquet", FRAME, METADATA)
    frame, metadata = read_parquet(tmp_path / "a.parquet", ["clip_id"])
    pd.testing.assert_frame_equal(frame, FRAME)
    assert metadata == METADATA


@pytest.mark.parametrize("framework", ["pt", "np"])
def test_tensors_keep_values_and_metadata(tmp_path, framework):
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    strided = torch.from_numpy(values).T  # not contiguous: safetensors refuses it as it is
    source = {"a.weight": strided} if framework == "pt" else {"a.weight": np.ascontiguousarray(values.T)}
    write_tensors(tmp_path / "a.safetensors", source, METADATA)
    for reader in ("pt", "np"):
        tensors, metadata = read_tensors(tmp_path / "a.safetensors", framework=reader)
        np.testing.assert_array_equal(np.asarray(tensors["a.weight"]), values.T)
        assert metadata == artifacts.read_tensor_metadata(tmp_path / "a.safetensors") == METADATA


def test_json_keeps_values_and_stays_readable(tmp_path):
    write_json(tmp_path / "a.json", METADATA)
    assert read_json(tmp_path / "a.json") == METADATA
    assert "дождь" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"a": value})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_parquet(tmp_path / "a.parquet", FRAME, {"a": value})
    with pytest.raises(ValueError, match="JSON compliant"):
        artifacts.digest({"a": value})
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_tensors_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no tensors"):
        write_tensors(tmp_path / "a.safetensors", {}, {})


@pytest.fixture(params=["parquet", "safetensors", "json"])
def whole(request, tmp_path):
    """A whole file and its reader."""
    path = tmp_path / f"artifact.{request.param}"
    if request.param == "parquet":
        write_parquet(path, FRAME, METADATA)
        return path, read_parquet
    if request.param == "safetensors":
        write_tensors(path, {"a": torch.arange(100.0)}, METADATA)
        return path, read_tensors
    write_json(path, METADATA)
    return path, read_json


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_truncated_files_are_named(whole, share):
    path, read = whole
    read(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DamagedArtifactError, match=r"artifact\.\w+ cannot be read") as caught:
        read(path)
    assert str(path) in str(caught.value)
    if path.suffix == ".safetensors":
        with pytest.raises(DamagedArtifactError):
            artifacts.read_tensor_metadata(path)


def test_missing_files_are_named(whole):
    path, read = whole
    path.unlink()
    with pytest.raises(DamagedArtifactError, match=r"artifact\.\w+ cannot be read"):
        read(path)
    with pytest.raises(DamagedArtifactError, match=r"artifact\.\w+ cannot be read"):
        artifacts.file_digest(path)


def test_a_missing_column_is_named_with_those_there(tmp_path):
    write_parquet(tmp_path / "a.parquet", FRAME, {})
    with pytest.raises(DamagedArtifactError, match=r"sha256 are absent \(it has clip_id, value\)"):
        read_parquet(tmp_path / "a.parquet", ["clip_id", "sha256"])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), JSON_VALUES, min_size=1, max_size=5))
def test_the_digest_ignores_order_and_survives_json(value):
    reordered = dict(reversed(value.items()))
    assert artifacts.digest(value) == artifacts.digest(reordered) == artifacts.digest(json.loads(json.dumps(value)))
    assert artifacts.digest(value) != artifacts.digest({**value, "one more": 1, next(iter(value)): "changed"})


def test_the_digest_is_the_same_in_another_process():
    program = f"from audioptq.files.artifacts import digest; print(digest({METADATA!r}))"
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "77"}
    outcome = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert outcome.stdout.strip() == artifacts.digest(METADATA)


def test_a_file_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert artifacts.file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_a_killed_process_left_is_removed_by_the_next_writer(tmp_path):
    program = (
        "import os, sys; from audioptq.files.artifacts import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os._exit(9)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.json")], env=environment)
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    mine = tmp_path / f".b.json.{atomic._HOST}.{os.getpid()}.tmp"
    elsewhere = tmp_path / ".c.json.another-machine.1.tmp"
    old = tmp_path / ".d.json.another-machine.1.tmp"
    for path in (mine, elsewhere, old):
        path.write_text("half")
    os.utime(old, (0, 0))
    write_json(tmp_path / "e.json", {})
    assert set(tmp_path.iterdir()) == {mine, elsewhere, tmp_path / "e.json"}
