"""Checkpoints of either format and pickle protocol are read, and nothing that is pickled in them runs."""

import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from audioptq.files.foreign_checkpoint import CheckpointError, ForeignObjectError, read_checkpoint, read_pickle


@pytest.mark.parametrize(("protocol", "is_new"), [(2, True), (4, True), (2, False)])
def test_checkpoints_of_either_format_and_protocol_are_read(tmp_path, protocol, is_new):
    record = {
        "epoch": np.int64(45),
        "state_dict": {"weight": torch.arange(3.0)},
        "optimizer": [{"lr": np.float64(0.1), "exp_avg": torch.nn.Parameter(torch.ones(2))}],
        "sampler": np.arange(4),
    }
    path = tmp_path / "checkpoint.pt"
    torch.save(record, path, pickle_protocol=protocol, _use_new_zipfile_serialization=is_new)
    found = read_checkpoint(path)
    assert torch.equal(found["state_dict"]["weight"], torch.arange(3.0))
    assert torch.equal(found["optimizer"][0]["exp_avg"], torch.ones(2))
    assert (found["epoch"], found["optimizer"][0]["lr"], found["sampler"].tolist()) == (45, 0.1, [0, 1, 2, 3])


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(("protocol", "is_new"), [(2, True), (4, True), (2, False)])
def test_code_in_a_checkpoint_does_not_run(tmp_path, protocol, is_new):
    trace = tmp_path / "trace"
    content = {"state_dict": Malicious(trace)}
    torch.save(content, tmp_path / "bad.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=is_new)
    with pytest.raises(ForeignObjectError, match=r"it asks for (io|__builtin__|builtins)\.open") as caught:
        read_checkpoint(tmp_path / "bad.pt")
    assert "weights_only" not in str(caught.value)  # torch's advice is to let it run
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(ForeignObjectError, match="it asks for"):
        read_pickle(tmp_path / "bad.pkl")
    assert not trace.exists()


def test_other_files_are_no_checkpoints(tmp_path):
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "page.pt").write_text("<html>not found</html>", encoding="utf-8")
    with tarfile.open(tmp_path / "tar.pt", "w") as archive:
        archive.add(tmp_path / "page.pt", "storages")
    words = {
        "plain": "damaged, or not a file of",
        "page": "damaged, or not",
        "tar": "tar archive",
        "absent": "No such file",
    }
    for name, why in words.items():
        with pytest.raises(CheckpointError, match=why):
            read_checkpoint(tmp_path / f"{name}.pt")


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    return path


def test_a_program_is_refused_by_name(program):
    with pytest.raises(CheckpointError, match="a program of TorchScript"):
        read_checkpoint(program)


def test_a_second_table_of_contents_hides_no_program(program):
    """Where the end of an archive names a place that is not just before it, readers differ in which table they follow."""
    content = program.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    with zipfile.ZipFile(program) as archive:
        offset, n_entries = archive.start_dir, len(archive.namelist())
    found = [content.index(b"PK\x06\x06"), end] if b"PK\x06\x06" in content else [end]
    table = content[offset : found[0]]
    harmless = table.replace(b"constants.pkl", b"constants.pkx")
    ending = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, n_entries, n_entries, len(table), offset, 0)
    program.write_bytes(content[:offset] + table + harmless + ending)
    with zipfile.ZipFile(program) as archive:
        assert not any(name.endswith("constants.pkl") for name in archive.namelist())
    torch.jit.load(str(program))  # as torch.load would do, whatever it is told of pickles
    with pytest.raises(CheckpointError, match="a program of TorchScript"):
        read_checkpoint(program)
