"""The tensors of a quantized layer: their names, and which of them a recipe needs, of which type, shape and range."""

from collections.abc import Mapping

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.granularity import PerAxes
from audioptq.quantize.arithmetic.packing import packed_width
from audioptq.quantize.arithmetic.primitives import qmax
from audioptq.quantize.layers.kinds import Geometry
from audioptq.quantize.layers.stored_weight import granularity_of
from audioptq.quantize.recipe.specs import LayerRecipe

BUFFERS = ("qdata", "scale", "weight", "bias", "smooth_scale", "smooth_row", "act_scale")
# Values that must be above zero: what is divided by.
STEPS = ("scale", "smooth_scale", "act_scale")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_tensors(tensors: Mapping[str, Tensor], recipe: LayerRecipe, geometry: Geometry) -> None:
    """Finds tensors that are not those of a quantized layer, by name, type and shape.

    Args:
        tensors: By the names of `BUFFERS`, and the branch's as `low_rank.a` and `low_rank.b`.
        recipe: The layer's.
        geometry: The layer's.

    Raises:
        ValueError: If one is missing, is one too many, or has another type or shape than the recipe needs.
    """
    expected = {"weight"} if recipe.keeps_weight else {"qdata", "scale"}
    expected |= {"smooth_scale"} if recipe.smoothing else set()
    expected |= {"low_rank.a", "low_rank.b"} if recipe.low_rank else set()
    is_static = recipe.activation is not None and recipe.activation.range == "static"
    expected |= {"act_scale"} if is_static else set()
    given = set(tensors) - {"bias", "smooth_row"}
    if given != expected:
        raise ValueError(f"tensors {sorted(given)} where the recipe needs {sorted(expected)}")
    shapes = _shapes(tensors, recipe, geometry)
    for name, tensor in tensors.items():
        wanted = shapes.get(name)
        if wanted is not None and tuple(tensor.shape) != wanted:
            raise ValueError(f"{name} of {tuple(tensor.shape)} that should be {list(wanted)}")
        if tensor.dtype not in _dtypes(name, recipe):
            raise ValueError(f"{name} in {str(tensor.dtype).removeprefix('torch.')}")


def check_values(tensors: Mapping[str, Tensor], recipe: LayerRecipe, timesteps: int | None) -> None:
    """Finds values that no quantized layer has.

    Args:
        tensors: Those that `check_tensors` has passed.
        recipe: The layer's.
        timesteps: Of the calibration; None without one.

    Raises:
        ValueError: If a float is not finite, a step not above zero, an integer beyond its width, or a row beyond the table.
    """
    for name, tensor in tensors.items():
        if tensor.dtype == torch.uint8:  # packed: no byte is beyond the width of its integers
            continue
        low, high = (bound.item() for bound in torch.aminmax(tensor)) if tensor.numel() else (0, 0)
        if not (low > -float("inf") and high < float("inf")):  # also of a NaN
            raise ValueError(f"{name} with values that are not finite")
        if name in STEPS and low <= 0:
            raise ValueError(f"{name} with a step that is not above zero")
        if name == "qdata" and recipe.weight is not None and recipe.weight.bits == 8 and low < -qmax(8):
            raise ValueError("qdata with -128, which no weight is rounded to")
    rows = len(tensors["smooth_scale"]) if "smooth_scale" in tensors else 1
    table = tensors.get("smooth_row")
    if table is None:
        if rows not in (1, timesteps):
            raise ValueError(f"{rows} smoothing vectors for {timesteps or 'no'} timesteps")
    elif len(table) != timesteps or not 0 <= int(table.min()) <= int(table.max()) < rows:
        raise ValueError(f"smooth_row that names other rows than {rows}, or other timesteps than {timesteps or 'none'}")


def _shapes(tensors: Mapping[str, Tensor], recipe: LayerRecipe, geometry: Geometry) -> dict[str, tuple[int, ...]]:
    outputs, columns = geometry.shape
    rows = len(tensors["smooth_scale"]) if "smooth_scale" in tensors else 1
    shapes: dict[str, tuple[int, ...]] = {"weight": (outputs, columns), "bias": (outputs,)}
    shapes["smooth_scale"] = (rows, geometry.in_channels)
    if recipe.activation is not None:
        is_per_channel = recipe.activation.granularity == "per_channel"
        shapes["act_scale"] = (rows, geometry.in_channels) if is_per_channel else (rows,)
    if recipe.weight is not None and not recipe.keeps_weight:
        shapes["qdata"] = (outputs, packed_width(columns, recipe.weight.bits))
        granularity = granularity_of(recipe.weight, geometry)
        if isinstance(granularity, PerAxes):
            shapes["scale"] = (outputs if granularity.axes else 1, 1)
        else:
            shapes["scale"] = tuple(granularity.absmax(torch.empty(outputs, columns, device="meta")).shape)
    if "low_rank.a" in tensors:
        rank = tensors["low_rank.a"].shape[-1]
        shapes |= {"low_rank.a": (columns, rank), "low_rank.b": (outputs, rank)}
    return shapes


def _dtypes(name: str, recipe: LayerRecipe) -> tuple[torch.dtype, ...]:
    if name == "qdata":
        return (torch.int8,) if recipe.weight is not None and recipe.weight.bits == 8 else (torch.uint8,)
    if name == "smooth_row":
        return (torch.int16,)
    if name in ("smooth_scale", "low_rank.a", "low_rank.b"):
        return (torch.float16,)
    return FLOATS
