"""A backend's trial at its first use: its product against the exact one, on the values that break integer kernels."""

from functools import cache

import torch
from torch import Tensor

from audioptq.quantize.integer.backend import Backend
from audioptq.quantize.integer.reference import exact_product
from audioptq.quantize.primitives import qmax

TOKENS = 40
# The exact sum is rounded to float32 once, and may be scaled by 1 and added to 0 on the way: integers below 2^22 must
# come out exactly, larger ones to four roundings.
TOLERANCE = 2.0**-22


@cache
def wrong_product(backend: Backend, device: torch.device, shape: tuple[int, int], bits: int) -> str | None:
    """How the backend failed for weights of `shape` (out, in) and `bits`, as a clause; None if it was right.

    Kernels that add in 16 bits fail only when neighbouring values are large together, so the trial has activations and
    weights that are all largest, all smallest and alternating, beside random ones. Once per process for each argument.
    """
    generator = torch.Generator().manual_seed(0)
    weight = _trial(*shape, qmax(bits), generator).to(device)
    x = _trial(TOKENS, shape[1], qmax(8), generator).to(device)
    ones = torch.ones(shape[0], device=device)
    try:
        y = backend.product(x, torch.ones(TOKENS, 1, device=device), backend.prepare(weight, ones, bits))
    except (RuntimeError, NotImplementedError) as error:  # what torch raises where a kernel is absent
        return f"its kernel fails on this machine: {str(error).splitlines()[0]}"
    exact = exact_product(x, weight)
    error_ = (y.double() - exact).abs()
    if not (error_ <= TOLERANCE * exact.abs()).all():  # NaN fails too
        return (
            f"it multiplies {bits}-bit weights wrongly on this machine (by up to {error_.max().item():.6g} where the "
            f"exact product is up to {exact.abs().max().item():.6g})"
        )
    return None


def _trial(rows: int, columns: int, largest: int, generator: torch.Generator) -> Tensor:
    """int8 `[rows, columns]` in `[-largest, largest]`: random, the first rows of a matrix extreme."""
    values = torch.randint(-largest, largest + 1, (rows, columns), dtype=torch.int8, generator=generator)
    signs = torch.ones(columns, dtype=torch.int8)
    signs[1::2] = -1
    extremes = largest * torch.stack([torch.ones_like(signs), -torch.ones_like(signs), signs, -signs])
    count = min(rows, len(extremes))
    values[:count] = extremes[:count]
    return values
