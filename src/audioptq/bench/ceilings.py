"""What the machine does at best, measured in the same run: products of matrices, and moving memory."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from audioptq.machine.device import synchronise
from audioptq.quantize.arithmetic.primitives import qmax
from audioptq.quantize.integer.backends import choose_backend

# Tokens, input and output channels, as in Stable Audio Open at 1,024 latents.
SHAPES = ((2048, 1536, 1536), (2048, 1536, 6144))
# Runs of each, or as many as take this long: processors without bfloat16 units are slow at it.
RUNS, SECONDS = 5, 4.0
MOVED_VALUES = 1 << 26
INTEGER_WEIGHTS = (8, 4)


def measure_ceilings(
    device: str, shapes: tuple[tuple[int, int, int], ...] = SHAPES, values: int = MOVED_VALUES
) -> dict[str, Any]:
    """Operations per second of products, the best of a few runs and of the shapes, and bytes per second.

    Args:
        device: Where.
        shapes: `(tokens, in, out)` of the products.
        values: float32 values in each of the three vectors that are moved.

    Returns:
        `products`: name -> `per_second` (None where it cannot run) and `by`, its backend or the reason; `bandwidth`: copy
        `a = b`, two vectors moved, and triad `a = b + 3 c`, three.
    """
    products = {"float32": _floats(device, torch.float32, shapes), "bfloat16": _floats(device, torch.bfloat16, shapes)}
    for bits in INTEGER_WEIGHTS:
        products[f"int8 x {bits}-bit weights"] = _integers(device, bits, shapes)
    b, c = torch.ones(values, device=device), torch.ones(values, device=device)
    a = torch.empty_like(b)
    n_bytes = values * a.element_size()
    moved = {
        "copy": 2 * n_bytes / _best(lambda: a.copy_(b), device),
        "triad": 3 * n_bytes / _best(lambda: torch.add(b, c, alpha=3.0, out=a), device),
    }
    return {"products": products, "bandwidth": moved}


def _floats(device: str, dtype: torch.dtype, shapes: tuple[tuple[int, int, int], ...]) -> dict[str, Any]:
    def product(tokens: int, n_in: int, n_out: int) -> Callable[[], Tensor]:
        x, weight = (
            torch.ones(tokens, n_in, device=device, dtype=dtype),
            torch.ones(n_out, n_in, device=device).to(dtype),
        )
        return lambda: x @ weight.T

    return {"per_second": _highest(product, shapes, device), "by": "torch"}


def _integers(device: str, bits: int, shapes: tuple[tuple[int, int, int], ...]) -> dict[str, Any]:
    backends = {}
    for _, n_in, n_out in shapes:
        backend, reason = choose_backend("auto", torch.device(device), (n_out, n_in), bits)
        if backend is None:
            return {"per_second": None, "by": reason}
        backends[n_in, n_out] = backend

    def product(tokens: int, n_in: int, n_out: int) -> Callable[[], Tensor]:
        backend = backends[n_in, n_out]
        weight = torch.full((n_out, n_in), qmax(bits), dtype=torch.int8, device=device)
        packed = backend.prepare(weight, torch.ones(n_out, device=device), bits)
        x = torch.ones(tokens, n_in, dtype=torch.int8, device=device)
        x_scale = torch.ones(tokens, 1, device=device)
        return lambda: backend.product(x, x_scale, packed)

    names = dict.fromkeys(backend.name for backend in backends.values())
    return {"per_second": _highest(product, shapes, device), "by": ", ".join(names)}


def _highest(
    product: Callable[[int, int, int], Callable[[], Tensor]], shapes: tuple[tuple[int, int, int], ...], device: str
) -> float:
    return max(2 * m * k * n / _best(product(m, k, n), device) for m, k, n in shapes)


@torch.inference_mode()
def _best(work: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of a few runs; the first warms up, and counts only where it is the only one."""
    seconds: list[float] = []
    while len(seconds) < RUNS and sum(seconds) < SECONDS:
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:] or seconds)
