"""Builds a model in one form: full precision, other libraries' quantization, or a recipe's file."""

from collections.abc import Callable
from dataclasses import dataclass
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
from audioptq.models.registry import open_model
from audioptq.models.stable_audio.files import weights_file
from audioptq.quantize import QuantOp
from audioptq.quantize.layers.cast import has_fast_products

# Packings of torchao's int4 weights, in the order in which they are tried.
INT4_PACKINGS = ("plain", "tile_packed_to_4d", "plain_int32")


@dataclass(frozen=True)
class BuiltForm:
    """A model in its form.

    Attributes:
        model: On its device.
        file_bytes: Of the file that it was loaded from; None if the form is made in memory.
        quantized_layers: Layers with a quantized operand.
        integer_layers: Of these, those that multiply integers.
        note: What else there is to say.
    """

    model: AudioModel
    file_bytes: int | None = None
    quantized_layers: int = 0
    integer_layers: int = 0
    note: str = ""

    def record(self) -> dict[str, Any]:
        """All but the model."""
        return {name: value for name, value in vars(self).items() if name != "model"}


def build_form(entry: BenchModel, form: Form, weights: str | None) -> BuiltForm:
    """Loads a model and puts it into the form.

    Args:
        entry: Of the full-precision model.
        form: The form.
        weights: The recipe's file; None for a reference.

    Raises:
        UserError: If the form cannot run on this machine; the text says why.
    """
    if weights is not None:
        return _recipe(entry, form, weights)
    path = weights_file(entry.folder)
    require_memory(path.stat().st_size, f"The full-precision model {path}", "leave this model out of the bench")
    model = open_model(entry.folder, entry.text_encoder)
    if form.name == BASELINE:
        model.require_text_encoder()  # recipes' files ask for it; said before anything is measured
        return BuiltForm(model.to(best_device()), path.stat().st_size)
    return _REFERENCES[form.name](model)


def _recipe(entry: BenchModel, form: Form, weights: str) -> BuiltForm:
    made = open_generator(weights, entry.text_encoder, compute=form.compute)
    layers = sum(isinstance(module, QuantOp) for module in made.model.network.modules())
    if form.compute == "integer" and not made.backends:
        raise UserError(made.note.partition(": ")[2] or made.note)
    note = "" if made.compute == form.compute else made.note.partition(": ")[2]
    return BuiltForm(made.model, Path(weights).stat().st_size, layers, len(made.backends), note)


def _bfloat16(model: AudioModel, is_compiled: bool) -> BuiltForm:
    """The denoiser in bfloat16, weights and arithmetic; compiled for each size of input by itself."""
    model.network.model.to(torch.bfloat16)
    model.to(best_device())
    if is_compiled:
        _compile(model)
    return BuiltForm(model)


def _torchao_int8(model: AudioModel, is_compiled: bool) -> BuiltForm:
    """Of torchao: int8 weights and activations, one dynamic scale per token, in the block's linear layers."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    device = best_device()
    dtype = torch.bfloat16 if device != "cpu" or has_fast_products(torch.bfloat16) else torch.float32
    model.network.model.to(dtype)
    model.to(device)
    layers = [site.name for site in model.sites()]
    quantize_(model.network, Int8DynamicActivationInt8WeightConfig(), _only(layers))
    if is_compiled:
        _compile(model)
    return BuiltForm(model, None, len(layers), len(layers), f"the rest in {str(dtype).removeprefix('torch.')}")


def _torchao_int4(model: AudioModel) -> BuiltForm:
    """Of torchao: int4 weights, in the first packing that this machine takes; its kernels want bfloat16 around them."""
    from torchao.quantization import Int4WeightOnlyConfig, quantize_

    model.network.model.to(torch.bfloat16)
    model.to(best_device())
    layers = [site.name for site in model.sites()]
    trial = nn.Sequential(nn.Linear(256, 256)).to(best_device(), torch.bfloat16).requires_grad_(False)
    refusals = []
    for packing in INT4_PACKINGS:
        config: Any = Int4WeightOnlyConfig(group_size=128, int4_packing_format=packing)
        try:
            quantize_(nn.Sequential(trial[0]), config)
        except Exception as error:  # each packing has its own way to say that it cannot
            refusals.append(f"{packing}: {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        quantize_(model.network, config, _only(layers))
        return BuiltForm(model, None, len(layers), 0, f"int4 packing {packing}, the rest in bfloat16")
    raise UserError(f"torchao has no int4 weights here ({'; '.join(refusals)})")


_REFERENCES: dict[str, Callable[[AudioModel], BuiltForm]] = {
    "eager_bf16": lambda model: _bfloat16(model, False),
    "compiled_bf16": lambda model: _bfloat16(model, True),
    "torchao_int8": lambda model: _torchao_int8(model, False),
    "torchao_int8_compiled": lambda model: _torchao_int8(model, True),
    "torchao_int4": _torchao_int4,
}


def _only(layers: list[str]) -> Callable[[nn.Module, str], bool]:
    names = set(layers)
    return lambda _module, name: name in names


def _compile(model: AudioModel) -> None:
    model.network.model.compile(dynamic=False)
