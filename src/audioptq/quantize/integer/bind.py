"""Binds a backend to a quantized layer: the same layer, whose input and product are integers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.primitives import quantize
from audioptq.quantize.integer.backend import Backend
from audioptq.quantize.layers.input_quantizer import InputQuantizer, has_nan
from audioptq.quantize.layers.product import Epilogue
from audioptq.quantize.layers.quant_op import QuantOp
from audioptq.quantize.layers.stored_weight import StoredWeight
from audioptq.quantize.layers.weight_cache import WeightCache


def on_integers(op: QuantOp, backend: Backend) -> QuantOp:
    """The layer with a product that runs on integers; in all else, its file included, the same layer.

    Args:
        op: In simulated form, without an obstacle; its tensors are shared.
        backend: What multiplies; it must have passed its trial for the layer's device, shape and bits.
    """
    bound = QuantOp(op.tensors(), op.recipe, op.geometry, op.clock)
    bound.input = IntegerInput(bound.input, backend)
    bound.product = IntegerProduct(bound.stored, bound.cache, backend)
    return bound


def backend_of(op: QuantOp) -> Backend | None:
    """What multiplies integers for a layer; None if its product is simulated."""
    return op.product.backend if isinstance(op.product, IntegerProduct) else None


class IntegerInput(InputQuantizer):
    """The integers of the simulated form as int8, with scales in float32."""

    def __init__(self, simulated: InputQuantizer, backend: Backend) -> None:
        super().__init__(simulated.tensors, simulated.recipe, simulated.layout, is_exact=True)
        self.backend = backend

    def __call__(self, x: Tensor, row: int) -> tuple[Tensor, Tensor]:
        """int8 and its scales, as the layout's `flat` has them."""
        spec, static = self.recipe.activation, self.static_scale(row)
        assert spec is not None, "an integer product has quantized activations"
        if self.layout.has_tokens and (spec.granularity == "per_token" or static is not None):
            table = self.tensors["smooth_scale"]
            return self.backend.quantize_tokens(
                x.flatten(0, -2), None if table is None else table[row], spec.bits, static
            )
        smoothed = self.smoothed(x, row)
        scale = self.scale(smoothed, row, spec)
        if static is not None:  # an integer cannot be NaN, so its scale has to be
            scale = torch.where(has_nan(smoothed), torch.nan, scale)
        return self.layout.flat(quantize(smoothed, scale, spec.bits), scale)


class IntegerProduct:
    """A backend's product with one layer's weight; see `product.Product`.

    The weight as the backend packs it is made once per call, for the whole batch, unless it is kept while the row stays the same:
    that of a large layer is not on a CPU, since all of them would take a byte per weight beside the stored ones.
    """

    def __init__(self, stored: StoredWeight, cache: WeightCache, backend: Backend) -> None:
        self.stored = stored
        self.cache = cache
        self.backend = backend

    def __call__(self, row: int) -> Callable[[Tensor, Tensor | None, Epilogue], Tensor]:
        """See `Product`."""
        return partial(self._multiply, self.packed(row))

    def packed(self, row: int) -> Any:
        """The weight of a row as the backend takes it."""
        qdata = self.stored.tensors["qdata"]
        is_as_stored = self._reads_stored
        is_roomy = qdata is not None and qdata.device.type != "cpu"
        keep = not is_as_stored and (self.cache.is_small or is_roomy)
        return self.cache.get((row, self.backend.name), partial(self._prepared, row), keep=keep)

    @property
    def _has_plain_scales(self) -> bool:
        """Whether the stored weight has float32 scales per output channel, or one."""
        scale, spec = self.stored.tensors["scale"], self.stored.recipe.weight
        return scale is not None and spec is not None and scale.shape[1] == 1 and scale.dtype == torch.float32

    @property
    def _reads_stored(self) -> bool:
        """Whether the backend starts from the stored weight, so that nothing is packed."""
        spec = self.stored.recipe.weight
        return self._has_plain_scales and spec is not None and spec.bits in self.backend.stored_bits

    def _prepared(self, row: int) -> Any:
        qdata, scale, spec = self.stored.tensors["qdata"], self.stored.tensors["scale"], self.stored.recipe.weight
        smooth = self.stored.column_smooth(row) if self.stored.is_requantized else None
        if qdata is not None and scale is not None and spec is not None and self._has_plain_scales:
            if self._reads_stored:
                return self.backend.prepare_stored(qdata, scale, spec.bits, smooth)
            if smooth is not None:
                return self._packed_of(*self.backend.requantize(qdata, scale, spec.bits, smooth))
        return self._packed_of(*self.stored.integers(row))

    def _packed_of(self, weight: Tensor, scale: Tensor) -> Any:
        per_output = scale.expand(len(weight), 1).flatten().float()
        return self.backend.prepare(weight, per_output, self.stored.compute_bits)

    def _multiply(self, packed: Any, tokens: Tensor, scale: Tensor | None, epilogue: Epilogue) -> Tensor:
        assert scale is not None, "integers have scales"
        return self.backend.fused_product(tokens, scale.expand(len(tokens), 1), packed, epilogue)
