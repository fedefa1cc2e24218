"""What the machine is, and how much memory a process took at most."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

CPU_INFO, STATUS = Path("/proc/cpuinfo"), Path("/proc/self/status")


def describe_machine(device: str) -> dict[str, Any]:
    """Names and versions of what is measured on."""
    cuda = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "processor": _field(CPU_INFO, "model name") or platform.processor() or platform.machine(),
        "instruction_sets": instruction_sets(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
    }


def instruction_sets() -> list[str]:
    """What torch finds the processor capable of."""
    trials = {
        "VNNI": torch.cpu._is_vnni_supported(),
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    return [torch.backends.cpu.get_cpu_capability(), *(name for name, there in trials.items() if there)]


def peak_bytes(device: str | torch.device) -> int | None:
    """The largest memory of this process so far: of the GPU, or resident; None where the system does not tell."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = _field(STATUS, "VmHWM")
    return None if peak is None else 1024 * int(peak.split()[0])


def _field(path: Path, name: str) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
