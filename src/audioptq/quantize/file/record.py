"""What the metadata of a quantized model's file must be, before anything is made of them."""

import math
from collections.abc import Mapping
from typing import Any

from audioptq.quantize.recipe.recipe import QuantRecipe
from audioptq.site import KINDS

Kinds = tuple[type, ...]
NOTHING = type(None)
# Key -> legal types; a key with `NOTHING` may be absent or null.
TYPES: dict[str, Kinds] = {
    "recipe_name": (str,),
    "recipe": (dict,),
    "layers": (dict,),
    "cast_layers": (list,),
    "components": (dict,),
    "objective": (str, NOTHING),
    "levels": (list, NOTHING),
    "family": (str, NOTHING),
    "model": (str, NOTHING),
    "model_config": (dict, NOTHING),
    "sampler": (dict, NOTHING),
    "sqnr_db": (list, NOTHING),
}
SAMPLER_TYPES: dict[str, Kinds] = {"name": (str,), "steps": (int,), "cfg_scale": (int, float)}


def check_record(record: Mapping[str, Any]) -> None:
    """Finds metadata that no quantized model has; tensors are held against them when the file is loaded.

    Args:
        record: Of today's format version.

    Raises:
        ValueError: As a clause about the file.
        UserError: If its recipe is none.
    """
    _check_types(record, TYPES, "")
    QuantRecipe.from_config(record["recipe_name"], record["recipe"])
    for name, layer in record["layers"].items():
        _check_layer(name, layer)
    if not all(isinstance(name, str) for name in (*record["cast_layers"], *record["components"].values())):
        raise ValueError("its `cast_layers` or `components` hold what is no name")
    if not all(_is_number(level) for level in record["levels"] or ()):
        raise ValueError("its `levels` hold what is no number")
    if bool(record["levels"]) != (record["objective"] is not None):
        raise ValueError("it has `levels` without an `objective`, or an `objective` without `levels`")
    if record.get("sampler") is not None:
        _check_types(record["sampler"], SAMPLER_TYPES, "sampler.")
    ratios = record.get("sqnr_db")
    if ratios is not None and not (
        len(ratios) == len(record["layers"]) and all(ratio is None or _is_number(ratio) for ratio in ratios)
    ):
        raise ValueError("its `sqnr_db` is not a number or null for each layer")


def _check_types(record: Mapping[str, Any], types: Mapping[str, Kinds], where: str) -> None:
    for key, kinds in types.items():
        value = record.get(key)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"its `{where}{key}` is {_short(value)}")


def _check_layer(name: str, layer: Any) -> None:
    shape = layer.get("shape") if isinstance(layer, dict) else None
    is_shape = isinstance(shape, list) and len(shape) >= 2 and all(type(size) is int and size >= 1 for size in shape)
    if not is_shape or layer.get("kind") not in KINDS:
        raise ValueError(f"its layer {name} is {_short(layer)}, without a kind and a shape that a layer can have")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    said = repr(value)
    return "absent" if value is None else said if len(said) <= 60 else f"{said[:57]}..."
