"""Turns a quantized model into its integer form, layer by layer, and says what became of each."""

import pandas as pd
from torch import nn

from audioptq.machine.memory import give_back
from audioptq.quantize.integer.backend import Backend
from audioptq.quantize.integer.backends import AUTO, choose_backend
from audioptq.quantize.integer.bind import on_integers
from audioptq.quantize.layers.apply import set_module
from audioptq.quantize.layers.quant_op import QuantOp


def use_integer(module: nn.Module, backend: str = AUTO) -> pd.DataFrame:
    """Replaces, in place, every quantized layer that can multiply integers here; the others go on in float.

    Call it once the model is on its device.

    Args:
        module: A model with quantized layers.
        backend: Name of a backend, or `auto` for the first of its device that is right.

    Returns:
        A row per quantized layer: layer, backend (None where the product stays in float), reason (why it does).

    Raises:
        UserError: If no backend has that name.
    """
    rows = []
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, QuantOp)]
    for name, layer in layers:
        chosen, reason = _choose(layer, backend)
        if chosen is not None:
            set_module(module, name, on_integers(layer, chosen))
        rows.append({"layer": name, "backend": chosen.name if chosen else None, "reason": reason or None})
    give_back()  # what the trials took
    return pd.DataFrame(rows, columns=["layer", "backend", "reason"])


def summary(report: pd.DataFrame) -> str:
    """One line about a report of `use_integer`: how many layers multiply integers, and why the others do not."""
    counts = report["backend"].value_counts()
    text = f"{report['backend'].notna().sum()} of {len(report)} quantized layers multiply integers"
    if len(counts):
        text += " (" + ", ".join(f"{name} {count}" for name, count in counts.items()) + ")"
    reasons = report.loc[report["backend"].isna(), "reason"].value_counts()
    return text + "".join(f"; {count} in float, since {reason}" for reason, count in reasons.items())


def _choose(layer: QuantOp, backend: str) -> tuple[Backend | None, str]:
    if layer.obstacle is not None:
        return None, layer.obstacle
    if layer.geometry.is_transposed:
        return None, "the patches of a transposed convolution are mostly zeros"
    return choose_backend(backend, next(layer.buffers()).device, layer.geometry.shape, layer.stored.compute_bits)
