"""Quantization: recipes, the arithmetic, quantized layers, and models as files.

Names that need torch are imported when first used: the workflow reads recipes in every job, most of which need none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audioptq.quantize.overrides import LayerOverride, LayerSpec
from audioptq.quantize.recipe import QuantRecipe
from audioptq.quantize.specs import ActivationSpec, LayerRecipe, LowRankSpec, SmoothingSpec, WeightSpec

if TYPE_CHECKING:
    from audioptq.quantize.apply import quantize_model, select_layers
    from audioptq.quantize.build import quantize_linear
    from audioptq.quantize.cast import CastLinear
    from audioptq.quantize.clock import TimestepClock
    from audioptq.quantize.linear import QuantLinear
    from audioptq.quantize.storage import load_quantized, save_quantized

_MODULE_OF = {
    "CastLinear": "cast",
    "QuantLinear": "linear",
    "TimestepClock": "clock",
    "load_quantized": "storage",
    "quantize_linear": "build",
    "quantize_model": "apply",
    "save_quantized": "storage",
    "select_layers": "apply",
}

__all__ = [
    "ActivationSpec",
    "CastLinear",
    "LayerOverride",
    "LayerRecipe",
    "LayerSpec",
    "LowRankSpec",
    "QuantLinear",
    "QuantRecipe",
    "SmoothingSpec",
    "TimestepClock",
    "WeightSpec",
    "load_quantized",
    "quantize_linear",
    "quantize_model",
    "save_quantized",
    "select_layers",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
