"""Which backend multiplies for a layer: the one asked for, or the fastest that is right."""

import time
from collections.abc import Callable, Mapping
from functools import cache, partial

import torch

from audioptq.errors import UserError
from audioptq.machine.device import synchronise
from audioptq.quantize.arithmetic.primitives import qmax
from audioptq.quantize.integer.backend import Backend
from audioptq.quantize.integer.int_mm import IntMm
from audioptq.quantize.integer.linear import IntegerLinear
from audioptq.quantize.integer.native import Native
from audioptq.quantize.integer.onednn import OneDnn
from audioptq.quantize.integer.reference import Reference
from audioptq.quantize.integer.self_test import wrong_product
from audioptq.quantize.integer.triton_backend import TritonBackend
from audioptq.quantize.layers.linear import QuantLinear

_ALL: tuple[Backend, ...] = (TritonBackend(), Native(), OneDnn(), IntMm(), Reference())
BACKENDS = {backend.name: backend for backend in _ALL}
AUTO = "auto"
# Slower than the float product that it would replace.
NOT_AUTOMATIC = ("reference",)
# Rounds at least, the first of which warms up, and seconds at least: small layers need more rounds to find a quiet moment.
TIMED_TOKENS, TIMED_RUNS, TIMED_SECONDS = 512, 4, 0.1
# Results of two backends differ in their last bits, and those of the first are the simulated form's to the bit: a machine's mood
# shall not choose between backends that are about as fast.
MARGIN = 1.25
_fastest_for: dict[tuple[object, ...], str] = {}


def choose_backend(name: str, device: torch.device, shape: tuple[int, int], bits: int) -> tuple[Backend | None, str]:
    """The backend for products with weights of `shape` (out, in) and `bits`, and an empty text; or None, and why there is none.

    Args:
        name: A backend, or `auto` for the one measured fastest of those that are right, `reference` left out.
        device: Where the weight is.
        shape: Of the weight.
        bits: Of the weight that meets the activations.

    Raises:
        UserError: If no backend has that name.
    """
    right, reason = _right(name, device, shape, bits)
    return (BACKENDS[_fastest_product(right, device, shape, bits)], "") if right else (None, reason)


def choose_for_layer(name: str, layer: QuantLinear, *, keep: bool = False) -> tuple[Backend | None, str]:
    """As `choose_backend`, by the time of the whole layer: what is made of its weight at each call counts too.

    Args:
        name: See `choose_backend`.
        layer: In simulated form, on its device.
        keep: Whether packed weights will be kept.
    """
    device, shape = next(layer.buffers()).device, (layer.out_features, layer.in_features)
    right, reason = _right(name, device, shape, layer.compute_spec.bits)
    if len(right) < 2:
        return (BACKENDS[right[0]], "") if right else (None, reason)
    key = (right, device, shape, layer.recipe, layer.rows > 1, keep)
    if key not in _fastest_for:
        x = torch.ones(1, TIMED_TOKENS, layer.in_features, device=device)
        forms = {known: IntegerLinear(layer, BACKENDS[known], keep=keep) for known in right}
        _fastest_for[key] = _fastest({known: partial(form.at_row, x, 0) for known, form in forms.items()}, device)
    return BACKENDS[_fastest_for[key]], ""


def _right(name: str, device: torch.device, shape: tuple[int, int], bits: int) -> tuple[tuple[str, ...], str]:
    """Names of backends that are right, in the order of `BACKENDS`, and why the others are not."""
    if name != AUTO and name not in BACKENDS:
        raise UserError(f"There is no integer backend {name!r}: choose from {', '.join([AUTO, *BACKENDS])}.")
    names = [name] if name != AUTO else [known for known in BACKENDS if known not in NOT_AUTOMATIC]
    refusals = {known: _refusal(BACKENDS[known], device, shape, bits) for known in names}
    right = tuple(known for known, refusal in refusals.items() if refusal is None)
    return right, "; ".join(f"{known}: {refusal}" for known, refusal in refusals.items() if refusal is not None)


def _refusal(backend: Backend, device: torch.device, shape: tuple[int, int], bits: int) -> str | None:
    return backend.refusal(device) or wrong_product(backend, device, shape, bits)


@cache
def _fastest_product(names: tuple[str, ...], device: torch.device, shape: tuple[int, int], bits: int) -> str:
    weight = torch.full(shape, qmax(bits), dtype=torch.int8, device=device)
    x = torch.full((TIMED_TOKENS, shape[1]), 127, dtype=torch.int8, device=device)
    scale, x_scale = torch.ones(shape[0], device=device), torch.ones(TIMED_TOKENS, 1, device=device)
    packed = {name: BACKENDS[name].prepare(weight, scale, bits) for name in names} if len(names) > 1 else {}
    calls = {name: partial(BACKENDS[name].product, x, x_scale, weights) for name, weights in packed.items()}
    return _fastest(calls, device) if calls else names[0]


@torch.inference_mode()
def _fastest(calls: Mapping[str, Callable[[], object]], device: torch.device) -> str:
    """The first of the calls whose best time, of a few taken in turns, is at most `MARGIN` of the best of all.

    All of them compute the same integers.
    """
    best = dict.fromkeys(calls, float("inf"))
    started, rounds = time.perf_counter(), 0
    while rounds < TIMED_RUNS or time.perf_counter() - started < TIMED_SECONDS:
        rounds += 1
        for name, call in calls.items():
            best[name] = min(best[name], _seconds(call, device))
    return next(name for name, taken in best.items() if taken <= MARGIN * min(best.values()))


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - started
