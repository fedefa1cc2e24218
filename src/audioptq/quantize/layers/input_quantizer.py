"""What a quantized layer makes of its input: `Q_a(x / s)`."""

from collections.abc import Mapping

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.exact_sums import sum_dtype
from audioptq.quantize.arithmetic.primitives import choose_scale, fake_quantize, quantize_in_float
from audioptq.quantize.layers.cast import float_dtype
from audioptq.quantize.layers.patches import Patches, Tokens
from audioptq.quantize.recipe.specs import ActivationSpec, LayerRecipe


class InputQuantizer:
    """Divides by the smoothing vector and rounds, in float.

    Args:
        tensors: The layer's, by the names of its file; looked up at each use, so that they may move.
        recipe: The layer's.
        layout: Where the channels of an input are, and what shares a range.
        is_exact: Whether integers are multiplied, and their sums scaled; else floats are.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor | None], recipe: LayerRecipe, layout: Tokens | Patches, *, is_exact: bool
    ) -> None:
        self.tensors = tensors
        self.recipe = recipe
        self.layout = layout
        self.is_exact = is_exact

    def __call__(self, x: Tensor, row: int) -> tuple[Tensor, Tensor | None]:
        """`Q_a(x / s)` as integers held in float and their scale; where floats are multiplied, as a float and None."""
        smoothed = self.smoothed(x, row)
        spec = self.recipe.activation
        if spec is None:
            return smoothed.to(float_dtype(self.recipe, x.dtype)), None
        scale = self.scale(smoothed, row, spec)
        if not self.is_exact:
            return fake_quantize(smoothed, scale, spec.bits, in_place=smoothed is not x), None
        dtype = sum_dtype(x.dtype)
        return quantize_in_float(smoothed, scale, spec.bits, in_place=smoothed is not x).to(dtype), scale.to(dtype)

    def smoothed(self, x: Tensor, row: int) -> Tensor:
        """`x / s`."""
        table = self.tensors["smooth_scale"]
        return x if table is None else x / self.layout.per_channel(table[row]).to(x.dtype)

    def scale(self, smoothed: Tensor, row: int, spec: ActivationSpec) -> Tensor:
        """The scale of `x / s`, static or from the live tensor; it broadcasts against it."""
        static = self.static_scale(row)
        if static is None:
            return choose_scale(self.layout.absmax(smoothed, spec), spec.bits)
        static = static.to(smoothed.dtype)
        return self.layout.per_channel(static) if static.ndim else static

    def static_scale(self, row: int) -> Tensor | None:
        """The scale that calibration found: one value, or `[in]`; None if ranges are dynamic."""
        scales = self.tensors["act_scale"]
        return None if scales is None else scales[row]


def has_nan(x: Tensor) -> Tensor:
    """Whether each item of a batch `[batch, ...]` has a NaN: bool `[batch, 1, ...]`."""
    axes = list(range(1, x.ndim))
    return torch.isnan(x.amax(axes, keepdim=True))
