"""The device is chosen in one place, and full precision is float32 on it."""

import pytest
import torch

from audioptq.errors import UserError
from audioptq.machine.device import VARIABLE, best_device, synchronise

SHORTCUTS = [
    (torch.backends.cuda.matmul, "allow_tf32"),
    (torch.backends.cudnn, "allow_tf32"),
    (torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"),
    (torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"),
]


@pytest.fixture
def gpus(monkeypatch):
    """Pretends that there are so many GPUs, with CUDA's shortcuts on as they may be by default."""
    monkeypatch.delenv(VARIABLE, raising=False)
    before = shortcuts()
    set_shortcuts([True] * 4)

    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    yield pretend
    set_shortcuts(before)


def set_shortcuts(values):
    for (holder, name), value in zip(SHORTCUTS, values, strict=True):
        setattr(holder, name, value)


def shortcuts():
    return [getattr(holder, name) for holder, name in SHORTCUTS]


def test_without_a_gpu_it_is_the_cpu(gpus):
    gpus(0)
    assert best_device() == "cpu"
    assert shortcuts() == [True] * 4


def test_a_gpu_is_taken_and_computes_in_full_precision(gpus):
    gpus(1)
    assert best_device() == "cuda"
    assert shortcuts() == [False] * 4


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_the_variable_overrides(gpus, monkeypatch, name):
    gpus(2)
    monkeypatch.setenv(VARIABLE, name)
    assert best_device() == name


@pytest.mark.parametrize(
    ("count", "name"), [(0, "cuda"), (1, "cuda:1"), (1, "gpu"), (1, "cuda:x"), (1, "cuda:-1"), (0, "mps")]
)
def test_devices_that_are_not_there_are_named(gpus, monkeypatch, count, name):
    gpus(count)
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(UserError, match=rf"{VARIABLE} is '{name}', but this machine has {count} CUDA devices"):
        best_device()


def test_there_is_nothing_to_wait_for_on_a_cpu():
    synchronise("cpu")
    synchronise(torch.device("cpu"))
