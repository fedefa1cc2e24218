"""Which backend multiplies for a layer: the one asked for, or the fastest that is right."""

import time
from functools import cache

import torch

from audioptq.device import synchronise
from audioptq.errors import UserError
from audioptq.quantize.integer.backend import Backend
from audioptq.quantize.integer.int_mm import IntMm
from audioptq.quantize.integer.native import Native
from audioptq.quantize.integer.onednn import OneDnn
from audioptq.quantize.integer.proof import wrong_product
from audioptq.quantize.integer.reference import Reference
from audioptq.quantize.integer.triton_backend import TritonBackend
from audioptq.quantize.primitives import qmax

_ALL: tuple[Backend, ...] = (TritonBackend(), Native(), OneDnn(), IntMm(), Reference())
BACKENDS = {backend.name: backend for backend in _ALL}
AUTO = "auto"
# Slower than the float product that it would replace.
NOT_AUTOMATIC = ("reference",)
TIMED_TOKENS, TIMED_RUNS = 512, 3


def choose_backend(
    name: str, device: torch.device, shape: tuple[int, int], bits: int, *, is_packed_anew: bool = False
) -> tuple[Backend | None, str]:
    """The backend for weights of `shape` (out, in) and `bits`, and an empty text; or None, and why there is none.

    Args:
        name: A backend, or `auto` for the one measured fastest of those that are right, `reference` left out.
        device: Where the layer is.
        shape: Of the layer's weight.
        bits: Of the weight that meets the activations.
        is_packed_anew: Whether the layer's weight is packed at each call, so that the time of that counts.

    Raises:
        UserError: If no backend has that name.
    """
    if name != AUTO and name not in BACKENDS:
        raise UserError(f"There is no integer backend {name!r}: choose from {', '.join([AUTO, *BACKENDS])}.")
    names = [name] if name != AUTO else [known for known in BACKENDS if known not in NOT_AUTOMATIC]
    refusals = {known: _refusal(BACKENDS[known], device, shape, bits) for known in names}
    right = tuple(known for known, refusal in refusals.items() if refusal is None)
    if not right:
        return None, "; ".join(f"{known}: {refusal}" for known, refusal in refusals.items())
    return BACKENDS[right[0] if len(right) == 1 else _fastest(right, device, shape, bits, is_packed_anew)], ""


def _refusal(backend: Backend, device: torch.device, shape: tuple[int, int], bits: int) -> str | None:
    return backend.refusal(device) or wrong_product(backend, device, shape, bits)


@cache
def _fastest(
    names: tuple[str, ...], device: torch.device, shape: tuple[int, int], bits: int, is_packed_anew: bool
) -> str:
    """The name whose product took the least time, best of a few runs; all of them compute the same integers."""
    seconds = {name: _seconds(BACKENDS[name], device, shape, bits, is_packed_anew) for name in names}
    return min(seconds, key=seconds.__getitem__)


def _seconds(backend: Backend, device: torch.device, shape: tuple[int, int], bits: int, is_packed_anew: bool) -> float:
    weight = torch.full(shape, qmax(bits), dtype=torch.int8, device=device)
    scale = torch.ones(shape[0], device=device)
    packed = backend.prepare(weight, scale, bits)
    x = torch.full((TIMED_TOKENS, shape[1]), 127, dtype=torch.int8, device=device)
    x_scale = torch.ones(TIMED_TOKENS, 1, device=device)
    best = float("inf")
    for _ in range(TIMED_RUNS + 1):  # the first warms up
        synchronise(device)
        started = time.perf_counter()
        if is_packed_anew:
            packed = backend.prepare(weight, scale, bits)
        backend.product(x, x_scale, packed)
        synchronise(device)
        best = min(best, time.perf_counter() - started)
    return best
