"""The quantized linear layer: stored integers, and a forward pass that simulates their arithmetic in float.

`integer.linear.IntegerLinear` is the same layer with a product that runs on integers. Where that can be, the simulated product is one
of integers held as floats whose sums are exact, so that both give the same.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from audioptq.quantize.arithmetic.exact_sums import exact_linear, not_integer, sum_dtype
from audioptq.quantize.arithmetic.granularity import act_granularity
from audioptq.quantize.arithmetic.low_rank import LowRankBranch, add_branch
from audioptq.quantize.arithmetic.primitives import choose_scale, dequantize, fake_quantize, quantize_in_float
from audioptq.quantize.layers.cast import product
from audioptq.quantize.layers.clock import TimestepClock
from audioptq.quantize.layers.layer_tensors import BUFFERS, check_tensors
from audioptq.quantize.layers.stored_weight import (
    COMPUTE_WEIGHT,
    EVERY,
    channels_at_once,
    is_kept,
    quantize_weight,
    requantize,
    stored_weight,
)
from audioptq.quantize.recipe.specs import ActivationSpec, LayerRecipe, WeightSpec


class QuantLinear(nn.Module):
    """`y = Q_a(x / s) W_s^T + x A B^T + bias`, where `W_s` is the compute weight of the smoothing vector `s`.

    How `W_s` comes about depends on the recipe:

    * no smoothing, or a static vector: `W s` was quantized once and stored.
    * timestep or grouped, stored form: `Q(W)` is stored; at each row `dequantize(Q(W)) * s` is quantized again, to int8
      per output channel whatever the storage, so that an integer product can use it.
    * timestep or grouped, simulated form: `W` is stored in full precision; `W s` is quantized anew at each row.

    The effective weights of the last two forms differ by at most three half steps: of the stored integers, of their
    int8 requantization, and of the simulated integers.

    If no scale varies along the input channels, integers are multiplied and summed exactly, then scaled; else (see `obstacle`) the
    product is one of dequantized operands.

    A *row* is a row of the smoothing table: one for all timesteps, one per timestep, or one per group of timesteps. The
    dequantized compute weight of a small layer is kept from one call to the next where rows repeat, and is never saved.

    Attributes:
        qdata: Stored weight, int8 `[out, in]`, packed along `in` below 8 bits (packing.py).
        scale: float32, `[out, 1]`, `[1, 1]` or `[out, groups]`.
        weight: Full-precision weight `[out, in]`, where the recipe needs it, in place of `qdata` and `scale`.
        bias: `[out]`.
        smooth_scale: fp16 `[row, in]`.
        smooth_row: Row of each timestep, int16 `[timestep]`; absent when a row is a timestep or the only one.
        act_scale: Static activation scale, float32 `[row]`, or `[row, in]` per channel.
        low_rank: The 16-bit branch.
        obstacle: What in the recipe no product of integers can do, as a clause; None if one can do it all.
    """

    qdata: Tensor | None
    scale: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    smooth_scale: Tensor | None
    smooth_row: Tensor | None
    act_scale: Tensor | None

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        recipe: LayerRecipe,
        shape: tuple[int, int],
        clock: TimestepClock | None = None,
    ) -> None:
        """Takes the tensors under the names of the attributes, the branch as `low_rank.a` and `low_rank.b`.

        Raises:
            ValueError: If the tensors are not the ones that `recipe` needs for a weight of `shape` (out, in).
        """
        super().__init__()
        self.recipe = recipe
        self.out_features, self.in_features = shape
        self.clock = clock
        for name in BUFFERS:
            tensor = tensors.get(name)
            # Contiguous like a tensor read from a file: the order of a float sum depends on the layout.
            self.register_buffer(name, None if tensor is None else tensor.contiguous())
        self.low_rank: LowRankBranch | None = None
        if "low_rank.a" in tensors:
            self.low_rank = LowRankBranch(tensors["low_rank.a"], tensors["low_rank.b"])
        check_tensors(tensors, recipe, shape)
        self.obstacle = not_integer(recipe, self.compute_spec if recipe.weight else None)
        self._rows = None if self.smooth_row is None else self.smooth_row.tolist()
        self._cached: tuple[int, torch.dtype, Tensor, Tensor | None] | None = None

    @property
    def rows(self) -> int:
        """Number of different smoothing vectors (1 without smoothing)."""
        return 1 if self.smooth_scale is None else len(self.smooth_scale)

    @property
    def repeats_rows(self) -> bool:
        """Whether one timestep's weight serves the next: else keeping it would take memory and save nothing."""
        return self.rows == 1 or self.smooth_row is not None

    @property
    def is_small(self) -> bool:
        """Whether the weight has so few elements that what is made of it may be kept."""
        return is_kept((self.out_features, self.in_features))

    @property
    def row_shares(self) -> Tensor:
        """Share of the timesteps that use each row, float64 `[row]`."""
        if self._rows is None:
            return torch.full((self.rows,), 1 / self.rows, dtype=torch.float64)
        return torch.bincount(torch.tensor(self._rows), minlength=self.rows) / len(self._rows)

    @property
    def compute_spec(self) -> WeightSpec:
        """What the integers that meet the activations are: those stored, or what each row requantizes them to."""
        is_requantized = self.qdata is not None and not self.recipe.is_folded
        return COMPUTE_WEIGHT if is_requantized else self._weight_spec()

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, ..., in]` -> `[batch, ..., out]`."""
        return self.at_row(x, self._row())

    def at_row(self, x: Tensor, row: int) -> Tensor:
        """`forward` at a row of the smoothing table."""
        y = self.quantized_product(x, row)  # of this call alone, so it may be added to in place
        y = y if self.bias is None else _add(y, self.bias)
        if self.low_rank is not None:
            inner = self.low_rank.inner(x.to(self._float_dtype(x)))
            add_branch(y.flatten(0, -2), inner.flatten(0, -2), self.low_rank.b)
        return y

    def quantized_product(self, x: Tensor, row: int) -> Tensor:
        """`Q_a(x / s) W_s^T` in the dtype of `x`, without branch and bias."""
        operand, x_scale = self.operand(x, row)
        if self.is_small or self.qdata is None:
            y = self._times(operand, row, EVERY)
        else:
            y = operand.new_empty(*x.shape[:-1], self.out_features)
            for channels in channels_at_once((self.out_features, self.in_features)):
                y[..., channels] = self._times(operand, row, channels)
        return (y if x_scale is None else y.mul_(x_scale)).to(x.dtype)

    def operand(self, x: Tensor, row: int) -> tuple[Tensor, Tensor | None]:
        """`Q_a(x / s)` as integers held in float and their scale; where floats are multiplied, as a float and None."""
        smoothed = self.smoothed(x, row)
        spec = self.recipe.activation
        if spec is None:
            return smoothed.to(self._float_dtype(x)), None
        scale = self.activation_scale(smoothed, row, spec)
        if self.obstacle is not None:
            return fake_quantize(smoothed, scale, spec.bits, in_place=smoothed is not x), None
        dtype = sum_dtype(x.dtype)
        return quantize_in_float(smoothed, scale, spec.bits, in_place=smoothed is not x).to(dtype), scale.to(dtype)

    def smoothed(self, x: Tensor, row: int) -> Tensor:
        """`x / s`."""
        return x if self.smooth_scale is None else x / self.smooth_scale[row].to(x.dtype)

    def activation_scale(self, smoothed: Tensor, row: int, spec: ActivationSpec) -> Tensor:
        """The scale of `x / s`, static or from the live tensor; it broadcasts against it."""
        if self.act_scale is not None:
            return self.act_scale[row].to(smoothed.dtype)
        return choose_scale(act_granularity(spec).absmax(smoothed), spec.bits)

    def compute_weight(self, row: int, channels: slice = EVERY) -> Tensor:
        """The weight `[out, in]` that meets `x / s`, in float; of some output channels (see `integer_weight`)."""
        if self.recipe.weight is None:
            return self._smoothed_weight(row)[channels]
        return dequantize(*self.integer_weight(row, channels))

    def integer_weight(self, row: int, channels: slice = EVERY) -> tuple[Tensor, Tensor]:
        """The weight that meets `Q_a(x / s)` as int8 `[out, in]` and the scale that broadcasts against it.

        Args:
            row: Of the smoothing table.
            channels: Output channels that are wanted; only where the stored weight is quantized.
        """
        spec = self._weight_spec()
        if self.qdata is None or self.scale is None:
            assert channels == EVERY, "a scale may span all output channels"
            return quantize_weight(self._smoothed_weight(row), spec)
        if self.recipe.is_folded:
            return stored_weight(self.qdata, self.scale, spec, self.in_features, channels)
        assert self.smooth_scale is not None, "checked in __init__"
        return requantize(self.qdata, self.scale, spec, self.smooth_scale[row], channels)

    def effective_weight(self, row: int) -> Tensor:
        """What the layer as a whole multiplies the raw input by: `W_s / s`, plus the branch."""
        weight = self.compute_weight(row)
        if self.smooth_scale is not None:
            weight = weight / self.smooth_scale[row].to(weight.dtype)
        return weight if self.low_rank is None else weight + self.low_rank.weight(weight.dtype)

    def extra_repr(self) -> str:
        """What `print(model)` says."""
        return f"{self.in_features}, {self.out_features}, {self.recipe.to_config()}"

    def _row(self) -> int:
        if self.rows == 1:
            return 0
        if self.clock is None:
            raise RuntimeError("a timestep-dependent QuantLinear needs a TimestepClock")
        timestep = self.clock.index
        return timestep if self._rows is None else self._rows[timestep]

    def _times(self, operand: Tensor, row: int, channels: slice) -> Tensor:
        """The operand times the weight of some output channels, with the weight's scales."""
        weight, scale = self._weight_of(row, operand.dtype, channels)
        if scale is None or self.recipe.activation is None:
            return product(operand, weight)
        return exact_linear(operand, weight, (self.recipe.activation.bits, self.compute_spec.bits)).mul_(scale)

    def _weight_of(self, row: int, dtype: torch.dtype, channels: slice) -> tuple[Tensor, Tensor | None]:
        """What meets the operand: integers and their scales, or floats and None. A small layer's is made when the row changes."""
        if self._cached is not None and self._cached[:2] == (row, dtype):
            return self._cached[2:]
        if self.obstacle is not None:
            made: tuple[Tensor, Tensor | None] = self.compute_weight(row, channels).to(dtype), None
        else:
            integers, scale = self.integer_weight(row, channels)
            made = integers.to(dtype), scale.flatten().to(dtype)
        if self.repeats_rows and self.is_small:
            self._cached = (row, dtype, *made)
        return made

    def _float_dtype(self, x: Tensor) -> torch.dtype:
        return torch.bfloat16 if self.recipe.dtype == "bfloat16" else x.dtype

    def _smooth(self, weight: Tensor, row: int) -> Tensor:
        return weight if self.smooth_scale is None else weight * self.smooth_scale[row].to(weight.dtype)

    def _smoothed_weight(self, row: int) -> Tensor:
        assert self.weight is not None, "checked in __init__"
        return self._smooth(self.weight, row)

    def _weight_spec(self) -> WeightSpec:
        assert self.recipe.weight is not None, "only layers with quantized weights come here"
        return self.recipe.weight

    def _apply(self, *args: object, **kwargs: object) -> "QuantLinear":
        self._cached = None  # moved or cast: the cached weight is of the old device or dtype
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self._cached = None
        super()._load_from_state_dict(*args, **kwargs)


def _add(y: Tensor, bias: Tensor) -> Tensor:
    """`y + bias`, in the memory of `y` if the sum has its type."""
    return y.add_(bias) if torch.result_type(y, bias) == y.dtype else y + bias
