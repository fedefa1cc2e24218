"""A backend's trial at its first use: its product against the exact one, on the values that break integer kernels."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.packing import pack
from audioptq.quantize.arithmetic.primitives import qmax
from audioptq.quantize.integer.backend import Backend, quantize_tokens
from audioptq.quantize.integer.reference import exact_product
from audioptq.quantize.layers.product import Epilogue
from audioptq.quantize.layers.stored_weight import requantize

TOKENS = 40
# Of output channels whose weight is made anew: more than a kernel takes at once, and no whole number of times that.
STORED_OUTPUTS = 150
# More than one block of a kernel's, whose sizes are powers of two, and no whole number of them.
RANK = 33
# The exact sum is rounded to float32 once, and may be scaled by powers of two and added to 0 on the way: integers below 2^22
# must come out exactly, larger ones to four roundings. A result in bfloat16 has a rounding of its own, up to 2^-8, or twice
# that where digits are cut off, as Triton's interpreter does.
TOLERANCE = 2.0**-22
EPILOGUES = {torch.float32: TOLERANCE, torch.bfloat16: 2.0**-7}


@cache
def wrong_product(backend: Backend, device: torch.device, shape: tuple[int, int], bits: int) -> str | None:
    """How the backend failed for weights of `shape` (out, in) and `bits`, as a clause; None if it was right.

    Kernels that add in 16 bits fail only when neighbouring values are large together, so the trial has activations and
    weights that are all largest, all smallest and alternating, beside random ones. The scales are powers of two, which round
    nothing. Branch and bias are tried, too. Once per process for each argument.
    """
    generator = torch.Generator().manual_seed(0)
    weight = _trial(*shape, qmax(bits), generator).to(device)
    x = _trial(TOKENS, shape[1], qmax(8), generator).to(device)
    scale = _powers((shape[0],), generator).to(device)
    x_scale = _powers((TOKENS, 1), generator).to(device)
    exact = exact_product(x, weight) * scale.double() * x_scale.double()
    try:
        packed = backend.prepare(weight, scale, bits)
        found = _error(backend.product(x, x_scale, packed), exact, exact.abs(), TOLERANCE)
        if found is not None:
            return f"it multiplies {bits}-bit weights wrongly on this machine ({found})"
        if _are_quantized_wrongly(backend, shape[1], device, generator):
            return "it quantizes activations wrongly on this machine"
        if _is_requantized_wrongly(backend, weight, x_scale, generator):
            return "it requantizes weights wrongly on this machine"
        found = _wrong_stored(backend, weight, (x, x_scale), generator)
        return found or _wrong_epilogue(backend, (x, x_scale, packed), exact, generator)
    except Exception as error:  # torch, a compiler and a driver have each their own for a kernel that is absent
        return f"its kernel fails on this machine: {(str(error).splitlines() or [type(error).__name__])[0]}"
    return None


def _are_quantized_wrongly(backend: Backend, channels: int, device: torch.device, generator: torch.Generator) -> bool:
    """Whether activations come out otherwise than step by step: random ones, halves, zeros; or a NaN is lost."""
    x = torch.randn(4, channels, generator=generator)
    x[1] = torch.arange(channels) % 254 - 126.5
    x[1, 0] = 127  # so that the scale is 1, and the others are halves
    x[2] = 0
    x[3, channels // 2] = torch.nan
    x = x.to(device)
    for smooth in (None, _smoothing(x, generator)):
        for scale in (None, torch.tensor(2.0**-6, device=device)):
            ours, expected = backend.quantize_tokens(x, smooth, 8, scale), quantize_tokens(x, smooth, 8, scale)
            if not (torch.equal(ours[0][:3], expected[0][:3]) and torch.equal(ours[1][:3], expected[1][:3])):
                return True
            if not ours[1][3].isnan().all():
                return True
    return False


def _is_requantized_wrongly(backend: Backend, weight: Tensor, some: Tensor, generator: torch.Generator) -> bool:
    """Whether the weight of some output channels, as 8 and 4 bits, comes out otherwise than step by step."""
    rows = weight[: len(some)]
    smooth = _smoothing(weight, generator)
    for bits in (8, 4):
        qdata, scale = pack(rows.clamp(-qmax(bits), qmax(bits)), bits), (some / 100)[: len(rows)]
        ours, expected = backend.requantize(qdata, scale, bits, smooth), requantize(qdata, scale, bits, smooth)
        if not all(torch.equal(one, other) for one, other in zip(ours, expected, strict=True)):
            return True
    return False


def _wrong_stored(
    backend: Backend, weight: Tensor, tokens: tuple[Tensor, Tensor], generator: torch.Generator
) -> str | None:
    """As `wrong_product`, of products that start from the stored weight of some output channels, as it is and smoothed."""
    x, x_scale = tokens
    weight = weight[:STORED_OUTPUTS]
    smooth = _smoothing(weight, generator)
    scale = _powers((len(weight), 1), generator).to(weight.device) / 100
    for bits in backend.stored_bits:
        stored = weight.clamp(-qmax(bits), qmax(bits))
        qdata = pack(stored, bits)
        for factors, own in ((None, scale), (smooth, scale), (None, scale[:1]), (smooth, scale[:1])):
            made = (stored, own) if factors is None else requantize(qdata, own, bits, factors)
            exact = exact_product(x, made[0]) * made[1].double().T * x_scale.double()
            y = backend.product(x, x_scale, backend.prepare_stored(qdata, own, bits, factors))
            found = _error(y, exact, exact.abs(), TOLERANCE)
            if found is not None:
                kind = "stored" if factors is None else "smoothed"
                return f"it multiplies {kind} {bits}-bit weights wrongly on this machine ({found})"
    return None


def _wrong_epilogue(
    backend: Backend, product: tuple[Tensor, Tensor, Any], exact: Tensor, generator: torch.Generator
) -> str | None:
    """As `wrong_product`, of what the backend adds to a product that it makes right."""
    # Twelve bits: a kernel that rounds them to TF32's eleven, where float32 was meant, is found out.
    inner = torch.randint(-4095, 4096, (len(exact), RANK), generator=generator).to(exact.device)
    factor = torch.randint(-8, 9, (exact.shape[1], RANK), generator=generator).to(exact.device, torch.float16)
    bias = torch.randint(-1000, 1001, (exact.shape[1],), generator=generator).to(exact.device, torch.float32)
    for dtype, tolerance in EPILOGUES.items():
        rounded = inner.to(dtype)
        branch = rounded.double() @ factor.double().T
        sizes = exact.abs() + branch.abs() + bias.double().abs()
        for with_branch, with_bias in ((True, True), (True, False), (False, True)):
            added = branch * with_branch + bias.double() * with_bias
            inner_, factor_ = (rounded, factor) if with_branch else (None, None)
            y = backend.fused_product(*product, Epilogue(inner_, factor_, bias if with_bias else None, dtype))
            found = _error(y, exact + added, sizes, tolerance)
            if found is not None:
                kind = str(dtype).removeprefix("torch.")
                return f"it adds branch and bias wrongly in {kind} on this machine ({found})"
    return None


def _error(y: Tensor, exact: Tensor, sizes: Tensor, tolerance: float) -> str | None:
    """How far `y` is from `exact`, as a clause; None if everywhere within the tolerance, relative to `sizes`."""
    error = (y.double() - exact).abs()
    if (error <= tolerance * sizes).all():  # NaN is no such thing
        return None
    return f"by up to {error.max().item():.6g} where the exact result is up to {exact.abs().max().item():.6g}"


def _trial(rows: int, columns: int, largest: int, generator: torch.Generator) -> Tensor:
    """int8 `[rows, columns]` in `[-largest, largest]`: random, the first rows of a matrix extreme."""
    values = torch.randint(-largest, largest + 1, (rows, columns), dtype=torch.int8, generator=generator)
    signs = torch.ones(columns, dtype=torch.int8)
    signs[1::2] = -1
    extremes = largest * torch.stack([torch.ones_like(signs), -torch.ones_like(signs), signs, -signs])
    count = min(rows, len(extremes))
    values[:count] = extremes[:count]
    return values


def _smoothing(weight: Tensor, generator: torch.Generator) -> Tensor:
    """A smoothing vector `[in]` as it is stored."""
    return (0.1 + torch.rand(weight.shape[1], generator=generator)).half().to(weight.device)


def _powers(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Scales from 1/8 to 8."""
    return 2.0 ** torch.randint(-3, 4, shape, generator=generator)
