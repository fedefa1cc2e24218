"""Turns a quantized model into its integer form, layer by layer, and says what became of each."""

import pandas as pd
from torch import nn

from audioptq.machine.memory import give_back
from audioptq.quantize.integer.backends import AUTO, choose_for_layer
from audioptq.quantize.integer.linear import IntegerLinear
from audioptq.quantize.layers.apply import set_module
from audioptq.quantize.layers.linear import QuantLinear


def use_integer(module: nn.Module, backend: str = AUTO, *, keep: bool = False) -> pd.DataFrame:
    """Replaces, in place, every quantized layer that can multiply integers here; the others go on in float.

    Call it once the model is on its device.

    Args:
        module: A model with quantized layers.
        backend: Name of a backend, or `auto` for the fastest that is right.
        keep: Whether large weights stay in memory on a CPU as the backend packs them, beside the stored ones: a byte per weight.
            Else they are packed at each call, unless the backend takes the stored ones as they are.

    Returns:
        A row per quantized layer: layer, backend (None where the product stays in float), reason (why it does).

    Raises:
        UserError: If no backend has that name.
    """
    rows = []
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, QuantLinear)]
    for name, layer in layers:
        reason = layer.obstacle
        chosen = None
        if reason is None:
            chosen, reason = choose_for_layer(backend, layer, keep=keep)
        if chosen is not None:
            set_module(module, name, IntegerLinear(layer, chosen, keep=keep))
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
