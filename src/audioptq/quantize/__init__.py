"""Quantization: recipes, the arithmetic, quantized layers, and models as files.

Names that need torch are imported when first used: the workflow reads recipes in every job, most of which need none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audioptq.quantize.recipe.overrides import LayerOverride, LayerSpec
from audioptq.quantize.recipe.recipe import QuantRecipe
from audioptq.quantize.recipe.specs import ActivationSpec, LayerRecipe, LowRankSpec, SmoothingSpec, WeightSpec

if TYPE_CHECKING:
    from audioptq.quantize.file.storage import load_quantized, save_quantized
    from audioptq.quantize.layers.apply import quantize_model
    from audioptq.quantize.layers.build import quantize_layer
    from audioptq.quantize.layers.cast import CastLayer
    from audioptq.quantize.layers.clock import TimestepClock
    from audioptq.quantize.layers.quant_op import QuantOp

_MODULE_OF = {
    "CastLayer": "layers.cast",
    "QuantOp": "layers.quant_op",
    "TimestepClock": "layers.clock",
    "load_quantized": "file.storage",
    "quantize_layer": "layers.build",
    "quantize_model": "layers.apply",
    "save_quantized": "file.storage",
}

__all__ = [
    "ActivationSpec",
    "CastLayer",
    "LayerOverride",
    "LayerRecipe",
    "LayerSpec",
    "LowRankSpec",
    "QuantOp",
    "QuantRecipe",
    "SmoothingSpec",
    "TimestepClock",
    "WeightSpec",
    "load_quantized",
    "quantize_layer",
    "quantize_model",
    "save_quantized",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
