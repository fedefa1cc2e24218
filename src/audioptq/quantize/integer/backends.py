"""Which backend multiplies for a layer: the one asked for, or the first of its device that is right."""

import torch

from audioptq.errors import UserError, did_you_mean
from audioptq.quantize.integer.backend import Backend
from audioptq.quantize.integer.int_mm import IntMm
from audioptq.quantize.integer.native import Native
from audioptq.quantize.integer.onednn import OneDnn
from audioptq.quantize.integer.reference import Reference
from audioptq.quantize.integer.self_test import wrong_product
from audioptq.quantize.integer.triton_backend import TritonBackend

_ALL: tuple[Backend, ...] = (TritonBackend(), Native(), OneDnn(), IntMm(), Reference())
BACKENDS = {backend.name: backend for backend in _ALL}
AUTO = "auto"
# `reference` is slower than the float product that it would replace.
ORDER = {"cuda": ("triton", "int_mm"), "cpu": ("native", "onednn", "int_mm")}


def choose_backend(name: str, device: torch.device, shape: tuple[int, int], bits: int) -> tuple[Backend | None, str]:
    """The backend for products with weights of `shape` (out, in) and `bits`, and an empty text; or None, and why there is none.

    Args:
        name: A backend, or `auto` for the first of `ORDER` that is right.
        device: Where the weight is.
        shape: Of the weight.
        bits: Of the weight that meets the activations.

    Raises:
        UserError: If no backend has that name.
    """
    if name != AUTO and name not in BACKENDS:
        names = [AUTO, *BACKENDS]
        raise UserError(
            f"There is no integer backend {name!r}: choose from {', '.join(names)}.{did_you_mean(name, names)}"
        )
    refusals = []
    for known in ORDER.get(device.type, ()) if name == AUTO else (name,):
        backend = BACKENDS[known]
        refusal = backend.refusal(device) or wrong_product(backend, device, shape, bits)
        if refusal is None:
            return backend, ""
        refusals.append(f"{known}: {refusal}")
    return None, "; ".join(refusals) or f"there is no backend for the device {device.type}"
