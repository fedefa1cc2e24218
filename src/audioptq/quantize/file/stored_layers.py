"""Layers of a quantized model's file: made of their tensors, and held against the model that they are put into."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from audioptq.errors import UserError
from audioptq.quantize.layers.cast import CastLayer
from audioptq.quantize.layers.check_tensors import check_values
from audioptq.quantize.layers.clock import TimestepClock
from audioptq.quantize.layers.kinds import KINDS, Geometry, NotQuantizableError, read_geometry
from audioptq.quantize.layers.quant_op import QuantOp
from audioptq.quantize.recipe.recipe import QuantRecipe
from audioptq.site import Site


def stored_layer(
    name: str, entry: Mapping[str, Any], tensors: Mapping[str, Tensor], recipe: QuantRecipe, clock: TimestepClock | None
) -> QuantOp:
    """One quantized layer, its tensors checked.

    Raises:
        ValueError: If they are not those of such a layer.
    """
    own = {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
    layer_recipe = recipe.for_layer(name)
    try:
        layer = QuantOp(own, layer_recipe, Geometry.from_record(entry), clock)
        check_values(own, layer_recipe, None if clock is None else len(clock.levels))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"its layer {name} has {error}") from error
    return layer


def cast_layer(path: str | Path, module: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> CastLayer:
    """The layer in a lower float type that takes the place of the model's own, whose geometry it has.

    Raises:
        UserError: If the model has no such layer.
    """
    weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
    try:
        layer: Any = module.get_submodule(name)
        kind = next(known for known, entry in KINDS.items() if isinstance(layer, entry.module))
        if weight is not None and layer.weight.shape == weight.shape:
            return CastLayer(weight, bias, read_geometry(layer, Site(name, kind)))
    except (AttributeError, StopIteration, NotQuantizableError):
        pass
    raise misfit(path, f"the file holds a layer {name} in a lower float type, which the model does not have")


def check_place(path: str | Path, module: nn.Module, name: str, geometry: Geometry) -> None:
    """Checks that the model has such a layer in this place.

    Raises:
        UserError: If it has another one, or none.
    """
    try:
        layer: nn.Module | None = module.get_submodule(name)
    except AttributeError:
        layer = None
    try:
        if layer is not None and read_geometry(layer, Site(name, geometry.kind, geometry.parts)) == geometry:
            return
    except NotQuantizableError:
        pass
    found = "nothing" if layer is None else f"{type(layer).__name__}({layer.extra_repr()})"
    shape = (geometry.out_channels, geometry.in_channels, *geometry.kernel)
    raise misfit(path, f"the file holds a layer {name}, {geometry.kind} of {shape}, where the model has {found}")


def misfit(path: str | Path, why: str) -> UserError:
    """The error of a file that is whole, but of another model."""
    return UserError(
        f"{path} does not fit this model: {why}. It was made from a model of another architecture: load it into that "
        "one, or quantize this model."
    )
