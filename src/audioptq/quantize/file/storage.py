"""Quantized models as files: everything a fresh model of the same architecture needs, in one safetensors file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audioptq.files.artifacts import write_tensors
from audioptq.noise_levels import NoiseLevels
from audioptq.quantize.file.size import size_record
from audioptq.quantize.file.stored_layers import cast_layer, check_place, misfit, stored_layer
from audioptq.quantize.file.tensor_file import FORMAT_VERSION, TensorFile, damaged
from audioptq.quantize.layers.apply import set_module
from audioptq.quantize.layers.clock import TimestepClock
from audioptq.quantize.layers.quant_op import QuantOp
from audioptq.quantize.layers.unquantized import cast_layer_names, quantized_tensor_names, storage_dtype
from audioptq.quantize.recipe.recipe import QuantRecipe

RESERVED = ("format_version", "recipe_name", "recipe", "objective", "levels", "layers", "cast_layers", "components")


def save_quantized(
    path: str | Path,
    module: nn.Module,
    recipe: QuantRecipe,
    *,
    components: Mapping[str, str],
    metadata: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes the whole state of a model to which `recipe` was applied.

    Args:
        path: The file to write.
        module: The model, after `quantize_model`.
        recipe: What was applied. The file's recipe has an override for each layer that automatic groups left with static
            smoothing.
        components: Prefix of tensor names -> component they are counted under; `denoiser` is the one that recipes act
            on.
        metadata: How it was made (model, configuration digest); recorded in the file beside what `load_quantized`
            needs.

    Returns:
        The size record of the file just written (see `size.size_record`), and `kept_float32`: how many tensors stayed
        float32 because `rest_dtype` could not hold them.
    """
    taken = [key for key in RESERVED if key in metadata]
    if taken:
        raise ValueError(f"metadata keys {taken} are the format's own")
    tensors = _stored_tensors(module, recipe)
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, QuantOp)}
    recipe = recipe.resolved({name: layer.recipe for name, layer in layers.items()})
    clock = next((layer.clock for layer in layers.values() if layer.clock is not None), None)
    record = {
        **metadata,
        "format_version": FORMAT_VERSION,
        "recipe_name": recipe.name,
        "recipe": recipe.to_config(),
        "objective": clock.levels.objective if clock is not None else None,
        "levels": list(clock.levels.values) if clock is not None else None,
        "layers": {name: layer.geometry.to_record() for name, layer in layers.items()},
        "cast_layers": cast_layer_names(module),
        "components": dict(components),
    }
    write_tensors(path, tensors, record)
    owned = quantized_tensor_names(module)
    rest = [tensor for name, tensor in tensors.items() if name not in owned]
    kept = sum(tensor.dtype == torch.float32 for tensor in rest) if recipe.rest_dtype != "float32" else 0
    return size_record(path, tensors, record["layers"], components) | {"kept_float32": kept}


def load_quantized(
    path: str | Path, module: nn.Module, *, unread: tuple[str, ...] = ()
) -> tuple[TimestepClock | None, QuantRecipe]:
    """Turns a freshly built model of the same architecture into the one that was saved.

    Every tensor is read once, through a map of the file, and given to the module as it is: the peak of memory is what the
    file holds. Parameters may therefore be on the meta device; what the module computed when it was built stays.

    Args:
        path: A file of `save_quantized`.
        module: The model, with any weights or none.
        unread: Prefixes of tensor names whose bytes are checked and left in the file, to be read when they are used: they
            keep the float type in which they were stored, and take no memory until then. All others take the module's own
            again, in memory of their own.

    Returns:
        The clock to set before each call of the denoiser (None if nothing was calibrated), and the recipe.

    Raises:
        DamagedArtifactError: If the file is missing, damaged or altered.
        UserError: If it is of another format version, or of a model of another architecture.
    """
    with TensorFile(path) as file:
        file.verify()
        record = file.record
        tensors = _read(file, _own_dtypes(module, record), _device(module), unread)
    try:
        recipe = QuantRecipe.from_config(record["recipe_name"], record["recipe"])
        clock = TimestepClock(NoiseLevels(record["objective"], record["levels"])) if record["levels"] else None
        layers = {name: stored_layer(name, entry, tensors, recipe, clock) for name, entry in record["layers"].items()}
    except Exception as error:  # what a file of ours never holds
        raise damaged(path, str(error)) from error
    for name, layer in layers.items():
        check_place(path, module, name, layer.geometry)
        set_module(module, name, layer)
    for name in record["cast_layers"]:
        set_module(module, name, cast_layer(path, module, name, tensors))
    _load_strictly(path, module, tensors)
    return clock, recipe


def _stored_tensors(module: nn.Module, recipe: QuantRecipe) -> dict[str, Tensor]:
    owned = quantized_tensor_names(module)
    tensors = {}
    for name, tensor in module.state_dict().items():
        if name not in owned:
            tensor = tensor.to(storage_dtype(name, tensor, str(recipe.rest_dtype)))
        # Tied weights share memory, which safetensors refuses.
        tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors


def _own_dtypes(module: nn.Module, record: Mapping[str, Any]) -> dict[str, torch.dtype]:
    """The types that tensors of the file take on; others, such as those of quantized layers, keep the file's."""
    kept = tuple(f"{name}." for name in record.get("cast_layers", ()))
    state = {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
    return {name: tensor.dtype for name, tensor in state.items() if not name.startswith(kept)}


def _device(module: nn.Module) -> torch.device:
    """Where the module is; the CPU for one whose tensors are all on the meta device."""
    devices = (tensor.device for tensor in module.state_dict().values() if isinstance(tensor, Tensor))
    return next((device for device in devices if device.type != "meta"), torch.device("cpu"))


def _read(
    file: TensorFile, dtypes: Mapping[str, torch.dtype], device: torch.device, unread: tuple[str, ...]
) -> dict[str, Tensor]:
    """Every tensor of the file, in memory of its own but for `unread`: aligned as kernels like it, free of the file."""
    tensors = {}
    for name, entry in file.entries.items():
        dtype: torch.dtype = getattr(torch, entry.dtype)
        if name.startswith(unread):
            tensors[name] = torch.from_numpy(file.bytes_of(name)).view(dtype).reshape(entry.shape)
        else:
            tensor = torch.empty(entry.shape, dtype=dtype)
            tensor.reshape(-1).view(torch.uint8).numpy()[:] = file.bytes_of(name)
            tensors[name] = tensor.to(device, dtypes.get(name, dtype))
        file.release(name)
    return tensors


def _load_strictly(path: str | Path, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
    stored = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if stored != expected:
        unlike = sorted(name for name in {*stored, *expected} if stored.get(name) != expected.get(name))
        raise misfit(
            path,
            f"{len(unlike)} tensors are absent from one of them or differ in shape, for example {unlike[0]}: "
            f"{stored.get(unlike[0], 'absent')} in the file, {expected.get(unlike[0], 'absent')} in the model",
        )
    module.load_state_dict(tensors, assign=True)
