"""Embedding to a file: what is current is taken back, and nothing is embedded for it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audioptq.audio.clips import write_clip
from audioptq.embed import to_file
from audioptq.embed.to_file import EvaluatorFiles, evaluators_of, write_clip_embeddings
from audioptq.files.artifacts import read_tensors


class Counting:
    """An evaluator that counts the clips that it is shown."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {"size": 1}
        self.n_seen = 0

    def embed(self, clips: Sequence[Any]) -> list[dict[str, torch.Tensor]]:
        self.n_seen += len(clips)
        return [{"audio": torch.ones(2)} for _ in clips]


@pytest.fixture
def clips(tmp_path: Path) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    records = [write_clip(tmp_path / f"{n}.flac", rng.standard_normal((1, 4410)) * 0.1, 44100, 24) for n in range(3)]
    return [{"clip_id": str(n), "path": record.path, "status": "ok"} for n, record in enumerate(records)]


def test_only_what_has_changed_is_embedded(
    tmp_path: Path, clips: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Counting] = []

    def load(*_: Any) -> Counting:
        loaded.append(Counting())
        return loaded[-1]

    monkeypatch.setattr(to_file, "load_evaluator", load)
    (tmp_path / "weights").write_text("a")
    evaluator = EvaluatorFiles("counting", "only", {"w": str(tmp_path / "weights")}, [])
    output = tmp_path / "embedded.safetensors"

    def write(these: list[dict[str, Any]], by: EvaluatorFiles = evaluator) -> bool:
        output.unlink(missing_ok=True)  # as Snakemake does before a job
        return write_clip_embeddings(output, by, these, "embed")

    assert write(clips)
    first = read_tensors(output)[1]
    os.utime(output, (1, 1))
    assert not write(clips), "nothing has changed"
    assert len(loaded) == 1
    assert read_tensors(output)[1] == first
    assert output.stat().st_mtime > 1, "younger than what it is made from"
    assert write(clips[:2]), "other clips are another file"
    assert [counting.n_seen for counting in loaded] == [3, 0]  # a batch whose files are all known is not embedded again
    assert write(clips[:2], replace(evaluator, variant="other"))
    assert loaded[-1].n_seen == 2
    silent = [{**clips[0], "status": "silent"}, clips[1]]
    assert write(silent, replace(evaluator, variant="other"))
    assert read_tensors(output)[1]["excluded"] == {"0": "silent"}


def test_the_evaluators_of_a_job_are_told_apart_by_the_names_of_its_inputs() -> None:
    inputs = {"code_shared": ["run.py"], "code_a": ["a.py"], "code_b": [], "weights_a": ["1", "2"], "weights_b": ["3"]}
    entries = {"b": {"variant": "x", "weights": ["z"]}, "a": {"variant": "y", "weights": ["u", "v"]}}
    assert evaluators_of(inputs, entries) == [
        EvaluatorFiles("b", "x", {"z": "3"}, ["run.py"]),
        EvaluatorFiles("a", "y", {"u": "1", "v": "2"}, ["run.py", "a.py"]),
    ]
