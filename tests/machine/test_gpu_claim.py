"""Processes that run side by side get a GPU each; what a killed one held is free. No GPU is needed for that."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from audioptq.machine import gpu_claim
from audioptq.machine.device import VARIABLE, best_device
from audioptq.machine.gpu_claim import claim_gpu, visible_gpus

CLAIM = """
import sys
from audioptq.machine import gpu_claim
gpu_claim.SECONDS_BETWEEN_LOOKS = 0.01
print(gpu_claim.claim_gpu(("0", "1"), sys.argv[1]), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """`start()` starts a process that claims one of two GPUs, prints which, and lives until it is ended."""
    processes = []

    def run() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", CLAIM, str(tmp_path)]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def test_processes_get_a_gpu_each_and_the_next_one_waits_for_a_killed_one(
    start: Callable[[], "subprocess.Popen[str]"],
) -> None:
    first, second = start(), start()
    held = [int(process.stdout.readline()) for process in (first, second)]
    assert sorted(held) == [0, 1]
    third = start()
    assert "every GPU (0, 1) is in use" in third.stderr.readline()
    assert third.poll() is None
    second.kill()
    assert int(third.stdout.readline()) == held[1]
    first.communicate()  # ends by itself
    assert int(start().stdout.readline()) == held[0]


def test_a_process_keeps_the_gpu_it_has(tmp_path: Path) -> None:
    names = ("here-0", "here-1")
    assert claim_gpu(names, str(tmp_path)) == 0
    assert claim_gpu(names, str(tmp_path)) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"here-0.lock", "here-1.lock"}


@pytest.mark.parametrize(
    ("listed", "allocation", "expected"),
    [
        (None, None, ("0", "1")),
        ("2,3", None, ("2", "3")),
        (" GPU-a , GPU-b", None, ("GPU-a", "GPU-b")),
        ("0,1", "77", ("slurm77-0", "slurm77-1")),
    ],
    ids=["all", "some", "by-name", "allocation"],
)
def test_a_gpu_has_the_same_name_for_all(
    monkeypatch: pytest.MonkeyPatch, listed: str | None, allocation: str | None, expected: tuple[str, ...]
) -> None:
    for name, value in (("CUDA_VISIBLE_DEVICES", listed), ("SLURM_JOB_ID", allocation)):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert visible_gpus(2) == expected


def test_of_several_gpus_a_job_takes_a_free_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def claim(names: tuple[str, ...]) -> int:
        asked.append(names)
        return claim_gpu(names, str(tmp_path))

    monkeypatch.setattr("audioptq.machine.device.claim_gpu", claim)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in (VARIABLE, "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    (tmp_path / "0.lock").touch()  # left by one that was killed
    assert best_device() == "cuda:0"
    monkeypatch.setenv(VARIABLE, "cuda:2")
    assert best_device() == "cuda:2"
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert best_device() == "cuda"
    assert asked == [("0", "1", "2")]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No claim of an earlier test is remembered."""
    gpu_claim.claim_gpu.cache_clear()
    yield
    gpu_claim.claim_gpu.cache_clear()
