"""Builds a model in one form: full precision, other libraries' quantization, or a recipe's file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audioptq.bench.plan import BASELINE, BenchModel, Form
from audioptq.errors import UserError
from audioptq.generate.load import open_generator
from audioptq.machine.device import best_device
from audioptq.machine.memory import require_memory
from audioptq.models.base import AudioModel
from audioptq.models.registry import model_files, open_model
from audioptq.quantize import QuantOp
from audioptq.quantize.layers.cast import has_fast_products

# Packings of torchao's int4 weights, in the order in which they are tried.
INT4_PACKINGS = ("plain", "tile_packed_to_4d", "plain_int32")
Facts = dict[str, Any]


def build_form(entry: BenchModel, form: Form, weights: str | None) -> tuple[AudioModel, Facts]:
    """Loads a model and puts it into the form.

    Args:
        entry: Of the full-precision model.
        form: The form.
        weights: The recipe's file; None for a reference.

    Returns:
        The model on its device, and columns of the table: `file_bytes` (of what it was loaded from; absent if the form is made
        in memory), `quantized_layers`, `integer_layers`, `note`.

    Raises:
        UserError: If the form cannot run on this machine; the text says why.
    """
    facts: Facts = {"quantized_layers": 0, "integer_layers": 0, "note": ""}
    if weights is not None:
        made = open_generator(weights, entry.text_encoder, compute=form.compute)
        reason = made.note.partition(": ")[2] or made.note
        if form.compute == "integer" and not made.backends:
            raise UserError(reason)
        layers = sum(isinstance(module, QuantOp) for module in made.model.network.modules())
        facts |= {"quantized_layers": layers, "integer_layers": len(made.backends)}
        return made.model, facts | {
            "file_bytes": Path(weights).stat().st_size,
            "note": "" if made.compute == form.compute else reason,
        }
    n_bytes = weight_bytes(entry.folder)
    require_memory(n_bytes, f"The full-precision model {entry.folder}", "leave this model out of the bench")
    model = open_model(entry.folder, entry.text_encoder)
    if form.name == BASELINE:
        return model.to(best_device()), facts | {"file_bytes": n_bytes}
    facts |= _REFERENCES[form.name](model)
    if form.is_compiled:
        denoiser(model).compile(dynamic=False)  # for each size of input by itself
    return model, facts


def denoiser(model: AudioModel) -> nn.Module:
    """The part of the network that `denoise` runs."""
    prefix = next(prefix for prefix, component in model.components.items() if component == "denoiser")
    return model.network.get_submodule(prefix.removesuffix("."))


def weight_bytes(folder: str) -> int:
    """Of a model directory's files of weights, which follow its configuration."""
    return sum(Path(path).stat().st_size for path in model_files(folder)[1:])


def _bfloat16(model: AudioModel) -> Facts:
    """The denoiser in bfloat16, weights and arithmetic."""
    denoiser(model).to(torch.bfloat16)
    model.to(best_device())
    return {}


def _torchao_int8(model: AudioModel) -> Facts:
    """Of torchao: int8 weights and activations, one dynamic scale per token."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    device = best_device()
    dtype = torch.bfloat16 if device != "cpu" or has_fast_products(torch.bfloat16) else torch.float32
    denoiser(model).to(dtype)
    n_layers = _quantize(model.to(device), Int8DynamicActivationInt8WeightConfig())
    note = f"the rest in {str(dtype).removeprefix('torch.')}"
    return {"quantized_layers": n_layers, "integer_layers": n_layers, "note": note}


def _torchao_int4(model: AudioModel) -> Facts:
    """Of torchao: int4 weights, in the first packing that this machine takes; its kernels want bfloat16 around them."""
    from torchao.quantization import Int4WeightOnlyConfig

    _bfloat16(model)
    refusals = []
    for packing in INT4_PACKINGS:
        config: Any = Int4WeightOnlyConfig(group_size=128, int4_packing_format=packing)
        try:
            n_layers = _quantize(model, config)
        except Exception as error:  # each packing has its own way to say that it cannot
            refusals.append(f"{packing}: {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        return {"quantized_layers": n_layers, "note": f"int4 packing {packing}, the rest in bfloat16"}
    raise UserError(f"torchao has no int4 weights here ({'; '.join(refusals)})")


def _quantize(model: AudioModel, config: Any) -> int:
    """By torchao, in the linear layers that recipes choose from; returns how many these are."""
    from torchao.quantization import quantize_

    names = {site.name for site in model.sites() if site.kind == "linear"}
    quantize_(model.network, config, lambda _module, name: name in names)
    return len(names)


_REFERENCES: dict[str, Callable[[AudioModel], Facts]] = {
    "eager_bf16": _bfloat16,
    "compiled_bf16": _bfloat16,
    "torchao_int8": _torchao_int8,
    "torchao_int8_compiled": _torchao_int8,
    "torchao_int4": _torchao_int4,
}
