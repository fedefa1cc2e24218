"""Checkpoints of either pickle protocol are read, and nothing that is pickled in them runs."""

import pickle

import numpy as np
import pytest
import torch

from audioptq.embed.checkpoint import read_checkpoint
from audioptq.errors import DamagedArtifactError


@pytest.mark.parametrize("protocol", [2, 4])
def test_checkpoints_of_either_pickle_protocol_are_read(tmp_path, protocol):
    record = {
        "epoch": np.int64(45),
        "state_dict": {"weight": torch.arange(3.0)},
        "optimizer": [{"lr": np.float64(0.1), "exp_avg": torch.nn.Parameter(torch.ones(2))}],
    }
    torch.save(record, tmp_path / "checkpoint.pt", pickle_protocol=protocol)
    found = read_checkpoint(tmp_path / "checkpoint.pt")
    assert torch.equal(found["state_dict"]["weight"], torch.arange(3.0))
    assert (found["epoch"], found["optimizer"][0]["lr"]) == (45, 0.1)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_checkpoint_does_not_run(tmp_path, protocol):
    trace = tmp_path / "trace"
    torch.save({"state_dict": Malicious(trace)}, tmp_path / "bad.pt", pickle_protocol=protocol)
    with pytest.raises(DamagedArtifactError, match=r"bad\.pt.*it holds (io|__builtin__|builtins)\.open"):
        read_checkpoint(tmp_path / "bad.pt")
    assert not trace.exists()


def test_other_files_are_no_checkpoints(tmp_path):
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "page.pt").write_text("<html>not found</html>", encoding="utf-8")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    for name in ("plain.pt", "page.pt", "program.pt", "absent.pt"):
        with pytest.raises(DamagedArtifactError, match=name):
            read_checkpoint(tmp_path / name)
