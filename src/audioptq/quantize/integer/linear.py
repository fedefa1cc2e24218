"""The quantized linear layer with a product that runs on integers."""

from typing import Any

import torch
from torch import Tensor

from audioptq.quantize.arithmetic.primitives import quantize
from audioptq.quantize.integer.backend import Backend, Epilogue, FusingBackend, RequantizingBackend, StoredBackend
from audioptq.quantize.layers.layer_tensors import BUFFERS
from audioptq.quantize.layers.linear import QuantLinear
from audioptq.quantize.layers.stored_weight import EVERY


class IntegerLinear(QuantLinear):
    """A `QuantLinear` that multiplies int8 activations by int8 weights; in all else, its file included, the same layer.

    Activations are quantized once, the backend multiplies, and the scales, the branch and the bias follow in float: within the
    backend's kernel if it can do that, else one after the other. The weight as the backend packs it is made once per call, for the
    whole batch, unless it is kept while the row stays the same.
    """

    def __init__(self, layer: QuantLinear, backend: Backend, *, keep: bool = False) -> None:
        """Shares the tensors of `layer`; `backend` must have been chosen for its device, shape and bits.

        Args:
            layer: The layer in simulated form.
            backend: What multiplies.
            keep: Whether the packed weight is kept on a CPU too, where that of a large layer is not.
        """
        tensors = {name: getattr(layer, name) for name in BUFFERS if getattr(layer, name) is not None}
        if layer.low_rank is not None:
            tensors |= {"low_rank.a": layer.low_rank.a, "low_rank.b": layer.low_rank.b}
        super().__init__(tensors, layer.recipe, (layer.out_features, layer.in_features), layer.clock)
        self.backend = backend
        self.keep = keep
        self.is_fused = isinstance(backend, FusingBackend)
        self.is_requantizing = isinstance(backend, RequantizingBackend)
        self.stored_bits = backend.stored_bits if isinstance(backend, StoredBackend) else ()
        self._packed: tuple[int, Any] | None = None

    @property
    def is_from_stored(self) -> bool:
        """Whether the backend starts from the stored weight, so that nothing is packed."""
        stored = self._stored()
        return stored is not None and stored[2] in self.stored_bits

    @property
    def is_packed_anew(self) -> bool:
        """Whether the weight is packed at each call though it stays the same, so that keeping it takes memory and saves time."""
        is_on_cpu = next(self.buffers()).device.type == "cpu"
        return self.repeats_rows and is_on_cpu and not (self.is_small or self.keep or self.is_from_stored)

    def at_row(self, x: Tensor, row: int) -> Tensor:
        """`forward` at a row of the smoothing table."""
        if not self.is_fused:
            return super().at_row(x, row)
        packed = self._packed_weight(row)
        integers, scale = self._quantized(x, row)
        y: Tensor = self.backend.fused_product(integers, scale, packed, self._epilogue(x))  # type: ignore[attr-defined]
        return y.unflatten(0, x.shape[:-1])

    def result_dtype(self, x: Tensor) -> torch.dtype:
        """Type of the layer's output for an input of the type of `x`: a bias may be wider."""
        return x.dtype if self.bias is None else torch.promote_types(x.dtype, self.bias.dtype)

    def pack(self) -> None:
        """Makes the packed weight now, where one that is kept serves all calls."""
        if self.rows == 1 and not self.is_packed_anew:
            self._packed_weight(0)

    def quantized_product(self, x: Tensor, row: int) -> Tensor:
        """`Q_a(x / s) W_s^T` in the dtype of `x`, summed in integers."""
        packed = self._packed_weight(row)
        integers, scale = self._quantized(x, row)
        y = self.backend.product(integers, scale, packed)
        return y.to(x.dtype).unflatten(0, x.shape[:-1])

    def integer_weight(self, row: int, channels: slice = EVERY) -> tuple[Tensor, Tensor]:
        """See `QuantLinear.integer_weight`; in one kernel where the backend has one."""
        stored = self._stored() if self.is_requantizing and channels == EVERY else None
        if stored is None or self.smooth_scale is None or self.recipe.is_folded:
            return super().integer_weight(row, channels)
        found: tuple[Tensor, Tensor] = self.backend.requantize(*stored, self.smooth_scale[row])  # type: ignore[attr-defined]
        return found

    def _stored(self) -> tuple[Tensor, Tensor, int] | None:
        """A stored weight, its float32 scales per output channel (or one), and its bits."""
        spec, qdata, scale = self.recipe.weight, self.qdata, self.scale
        if qdata is None or scale is None or spec is None:
            return None
        has_one_per_output = spec.granularity in ("per_channel", "per_tensor") and scale.dtype == torch.float32
        return (qdata, scale, spec.bits) if has_one_per_output else None

    def _epilogue(self, x: Tensor) -> Epilogue:
        dtype = self.result_dtype(x)
        if self.low_rank is None:
            return Epilogue(None, None, self.bias, dtype)
        inner = self.low_rank.inner(x.to(self._float_dtype(x))).flatten(0, -2)
        return Epilogue(inner, self.low_rank.b, self.bias, dtype)

    def _quantized(self, x: Tensor, row: int) -> tuple[Tensor, Tensor]:
        """int8 `[tokens, in]` and float32 `[tokens, 1]` of an input `[batch, ..., in]`."""
        spec = self.recipe.activation
        assert spec is not None, "checked by whoever chose the backend"
        if spec.granularity == "per_token" or self.act_scale is not None:
            smooth = None if self.smooth_scale is None else self.smooth_scale[row]
            scale = None if self.act_scale is None else self.act_scale[row]
            return self.backend.quantize_tokens(x.flatten(0, -2), smooth, spec.bits, scale)
        x = self.smoothed(x, row)
        scale = self.activation_scale(x, row, spec)
        per_token = scale.float().expand(*x.shape[:-1], 1).reshape(-1, 1)
        return quantize(x, scale, spec.bits).flatten(0, -2), per_token

    def _packed_weight(self, row: int) -> Any:
        if self._packed is not None and self._packed[0] == row:
            return self._packed[1]
        packed = self._prepared(row)
        if self.repeats_rows and not (self.is_packed_anew or self.is_from_stored):
            self._packed = (row, packed)
        return packed

    def _prepared(self, row: int) -> Any:
        stored = self._stored() if self.is_from_stored else None
        if stored is not None:
            is_made_anew = self.smooth_scale is not None and not self.recipe.is_folded
            smooth = self.smooth_scale[row] if is_made_anew else None  # type: ignore[index]
            return self.backend.prepare_stored(*stored, smooth)  # type: ignore[attr-defined]
        weight, scale = self.integer_weight(row)
        per_output = scale.expand(self.out_features, 1).flatten().float()
        return self.backend.prepare(weight, per_output, self.compute_spec.bits)

    def _apply(self, *args: object, **kwargs: object) -> "IntegerLinear":
        self._packed = None
        super()._apply(*args, **kwargs)
        return self

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self._packed = None
        super()._load_from_state_dict(*args, **kwargs)
