"""What the machine is, what it does at best, and how much memory a process took at most."""

import math
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import Timer

from audioptq.quantize.arithmetic.primitives import qmax
from audioptq.quantize.integer.backends import choose_backend

# Tokens, input and output channels, as in Stable Audio Open at 1,024 latents.
SHAPES = ((2048, 1536, 1536), (2048, 1536, 6144))
# Each is run for at least as long, after a run that warms up.
SECONDS = 1.0
MOVED_VALUES = 1 << 26


def describe_machine(device: str) -> dict[str, Any]:
    """Names and versions of what is measured on."""
    trials = {
        torch.backends.cpu.get_cpu_capability(): True,
        "VNNI": torch.cpu._is_vnni_supported(),
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "instruction_sets": [name for name, is_there in trials.items() if is_there],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
    }


def peak_bytes(device: str | torch.device) -> int | None:
    """The largest memory of this process so far: of the GPU, or resident; None where the system does not tell."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = _field("/proc/self/status", "VmHWM")
    return None if peak is None else 1024 * int(peak.split()[0])


@torch.inference_mode()
def measure_ceilings(
    device: str, shapes: Sequence[tuple[int, int, int]] = SHAPES, values: int = MOVED_VALUES, seconds: float = SECONDS
) -> dict[str, Any]:
    """Operations per second of products, the best of a few runs and of the shapes, and bytes per second.

    Args:
        device: Where.
        shapes: `(tokens, in, out)` of the products.
        values: float32 values in each of the three vectors that are moved.
        seconds: Of each.

    Returns:
        `products`: name -> `per_second` (None where it cannot run) and `by`, its backend or the reason; `bandwidth`: copy
        `a = b`, two vectors moved, and triad `a = b + 3 c`, three.
    """
    products: dict[str, Any] = {}
    for kind in (torch.float32, torch.bfloat16, 8, 4):
        found = [_product(kind, shape, device) for shape in shapes]
        works = [work for work, _ in found if work is not None]
        is_whole = len(works) == len(found)
        rates = [2 * math.prod(shape) / _fastest(work, seconds) for shape, work in zip(shapes, works, strict=is_whole)]
        name = str(kind).removeprefix("torch.") if isinstance(kind, torch.dtype) else f"int8 x {kind}-bit weights"
        by = ", ".join(dict.fromkeys(by for work, by in found if is_whole or work is None))
        products[name] = {"per_second": max(rates) if is_whole else None, "by": by}
    b, c = torch.ones(values, device=device), torch.ones(values, device=device)
    a = torch.empty_like(b)
    moved = {
        "copy": 2 * a.nbytes / _fastest(lambda: a.copy_(b), seconds),
        "triad": 3 * a.nbytes / _fastest(lambda: torch.add(b, c, alpha=3.0, out=a), seconds),
    }
    return {"products": products, "bandwidth": moved}


def _product(kind: torch.dtype | int, shape: tuple[int, int, int], device: str) -> tuple[Callable[[], Any] | None, str]:
    """A product of floats, or of int8 by weights of `kind` bits, and what multiplies; None and the reason where nothing does."""
    m, k, n = shape
    if isinstance(kind, torch.dtype):
        floats, weight = (torch.ones(rows, k, device=device, dtype=kind) for rows in (m, n))
        return lambda: floats @ weight.T, "torch"
    backend, reason = choose_backend("auto", torch.device(device), (n, k), kind)
    if backend is None:
        return None, reason
    x, integers = (torch.full((rows, k), qmax(kind), dtype=torch.int8, device=device) for rows in (m, n))
    packed, scale = backend.prepare(integers, torch.ones(n, device=device), kind), torch.ones(m, 1, device=device)
    return lambda: backend.product(x, scale, packed), backend.name


def _fastest(work: Callable[[], Any], seconds: float) -> float:
    """Seconds of the fastest run; torch's timer waits for a GPU."""
    work()
    timer = Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    return float(min(timer.blocked_autorange(min_run_time=seconds).times))


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
