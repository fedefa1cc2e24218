"""The tensors of a quantized layer: their names, and which of them a recipe needs in which shapes."""

from collections.abc import Mapping

from torch import Tensor

from audioptq.quantize.arithmetic.packing import packed_width
from audioptq.quantize.recipe.specs import LayerRecipe

BUFFERS = ("qdata", "scale", "weight", "bias", "smooth_scale", "smooth_row", "act_scale")


def check_tensors(tensors: Mapping[str, Tensor], recipe: LayerRecipe, shape: tuple[int, int]) -> None:
    """Finds tensors that are not those of a quantized layer.

    Args:
        tensors: By the names of `BUFFERS`, and the branch's as `low_rank.a` and `low_rank.b`.
        recipe: The layer's.
        shape: Of its weight: (out, in).

    Raises:
        ValueError: If one is missing, is one too many, or has another shape than the recipe needs.
    """
    out_features, in_features = shape
    expected = {"weight"} if recipe.keeps_weight else {"qdata", "scale"}
    expected |= {"smooth_scale"} if recipe.smoothing else set()
    expected |= {"low_rank.a", "low_rank.b"} if recipe.low_rank else set()
    expected |= {"act_scale"} if recipe.activation is not None and recipe.activation.range == "static" else set()
    given = set(tensors) - {"bias", "smooth_row"}
    if given != expected:
        raise ValueError(f"tensors {sorted(given)} where the recipe needs {sorted(expected)}")
    width = in_features
    if recipe.weight is not None and not recipe.keeps_weight:
        width = packed_width(in_features, recipe.weight.bits)
    stored = tensors["weight" if recipe.keeps_weight else "qdata"]
    if stored.shape != (out_features, width):
        raise ValueError(f"a stored weight of {tuple(stored.shape)} that should be [{out_features}, {width}]")
    rows = len(tensors["smooth_scale"]) if "smooth_scale" in tensors else 1
    if "act_scale" in tensors and len(tensors["act_scale"]) != rows:
        raise ValueError(f"{len(tensors['act_scale'])} activation scales for {rows} rows")
    for name, wanted in {"smooth_scale": (rows, in_features), "bias": (out_features,)}.items():
        if name in tensors and tensors[name].shape != wanted:
            raise ValueError(f"{name} of {tuple(tensors[name].shape)} that should be {list(wanted)}")
    scale = tensors.get("scale")
    if scale is not None and (scale.ndim != 2 or len(scale) not in (1, out_features)):
        raise ValueError(f"scales of {tuple(scale.shape)} for {out_features} output channels")
