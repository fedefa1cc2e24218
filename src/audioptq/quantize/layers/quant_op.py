"""A quantized layer of any kind: stored integers, and a forward pass on them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from audioptq.quantize.arithmetic.exact_sums import not_integer
from audioptq.quantize.arithmetic.low_rank import LowRankBranch
from audioptq.quantize.layers.cast import float_dtype
from audioptq.quantize.layers.check_tensors import BUFFERS, check_tensors
from audioptq.quantize.layers.clock import TimestepClock
from audioptq.quantize.layers.input_quantizer import InputQuantizer
from audioptq.quantize.layers.kinds import Geometry
from audioptq.quantize.layers.patches import layout_of
from audioptq.quantize.layers.product import Epilogue, FloatProduct, Product
from audioptq.quantize.layers.stored_weight import StoredWeight
from audioptq.quantize.layers.weight_cache import WeightCache
from audioptq.quantize.recipe.specs import LayerRecipe


class QuantOp(nn.Module):
    """`y = Q_a(x / s) W_s^T + bias + x A B^T`, where `W_s` is the compute weight of the smoothing vector `s`.

    Four parts do it: `input` makes `Q_a(x / s)`, `stored` makes `W_s` (its docstring says how), `product` multiplies, and
    `low_rank` is the branch. In a convolution `x` stands for the patch of each output position (patches.py).

    `input` and `product` simulate integer arithmetic in float as they are made here; `integer.bind.on_integers` puts others in
    their place, which multiply integers. If no scale varies along the matrix's columns, the simulated product is one of integers
    held as floats whose sums are exact, so that both give the same; else (see `obstacle`) it is one of dequantized operands.

    A *row* is a row of the smoothing table: one for all timesteps, one per timestep, or one per group of timesteps. What is made
    of a small layer's weight is kept from one call to the next where rows repeat, and is never saved.

    Attributes:
        geometry: Kind, sizes and parts.
        recipe: The layer's.
        clock: Tells it the timestep; needed when it has more than one row.
        qdata: Stored weight, int8 `[out, in * taps]`, packed along the columns below 8 bits (packing.py).
        scale: float32, `[out, 1]`, `[1, 1]` or `[out, groups]`.
        weight: Full-precision matrix `[out, in * taps]`, where the recipe needs it, in place of `qdata` and `scale`.
        bias: `[out]`.
        smooth_scale: fp16 `[row, in]`.
        smooth_row: Row of each timestep, int16 `[timestep]`; absent when a row is a timestep or the only one.
        act_scale: Static activation scale, float32 `[row]`, or `[row, in]` per channel.
        low_rank: The 16-bit branch.
        obstacle: What in the layer no product of integers can do, as a clause; None if one can do it all.
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
        geometry: Geometry,
        clock: TimestepClock | None = None,
    ) -> None:
        """Takes the tensors under the names of the attributes, the branch as `low_rank.a` and `low_rank.b`.

        Raises:
            ValueError: If the tensors are not the ones that `recipe` needs for a layer of this geometry.
        """
        super().__init__()
        check_tensors(tensors, recipe, geometry)
        self.recipe = recipe
        self.geometry = geometry
        self.clock = clock
        for name in BUFFERS:
            tensor = tensors.get(name)
            # Contiguous like a tensor read from a file: the order of a float sum depends on the layout.
            self.register_buffer(name, None if tensor is None else tensor.contiguous())
        self.low_rank: LowRankBranch | None = None
        if "low_rank.a" in tensors:
            self.low_rank = LowRankBranch(tensors["low_rank.a"], tensors["low_rank.b"])
        self._rows = None if self.smooth_row is None else self.smooth_row.tolist()
        self.layout = layout_of(geometry)
        self.stored = StoredWeight(self._buffers, recipe, geometry)
        self.cache = WeightCache(geometry.shape, repeats=self.rows == 1 or self._rows is not None)
        self.obstacle = not_integer(recipe, self.stored.has_scale_per_output)
        is_exact = self.obstacle is None
        self.input = InputQuantizer(self._buffers, recipe, self.layout, is_exact=is_exact)
        self.product: Product = FloatProduct(self.stored, self.cache, is_exact=is_exact)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, ..., in]` -> `[batch, ..., out]`, or of a convolution `[batch, in, *size]` -> `[batch, out, *size]`."""
        return self.at_row(x, self.row())

    def at_row(self, x: Tensor, row: int) -> Tensor:
        """`forward` at a row of the smoothing table."""
        operand, scale = self.input(x, row)  # Q_a(x / s)
        times_weight = self.product(row)  # ... W_s^T + bias + x A B^T
        pieces = self.layout.pieces(operand, scale, None if self.low_rank is None else x)
        outputs = (times_weight(tokens, own, self.epilogue(raw, x.dtype)) for tokens, own, raw in pieces)
        return self.layout.join(outputs, x)

    def epilogue(self, raw: Tensor | None, dtype: torch.dtype) -> Epilogue:
        """What is added to the product of some tokens, of which `raw` are the values before quantization."""
        result = dtype if self.bias is None else torch.promote_types(dtype, self.bias.dtype)
        if self.low_rank is None or raw is None:
            return Epilogue(None, None, self.bias, result)
        inner = self.low_rank.inner(raw.to(float_dtype(self.recipe, dtype))).flatten(0, -2)
        return Epilogue(inner, self.low_rank.b, self.bias, result)

    def effective_weight(self, row: int) -> Tensor:
        """The matrix that the layer as a whole multiplies the raw input by: `W_s / s`, plus the branch."""
        weight, smooth = self.stored.floats(row), self.stored.column_smooth(row)
        if smooth is not None:
            weight = weight / smooth.to(weight.dtype)
        return weight if self.low_rank is None else weight + self.low_rank.weight(weight.dtype)

    @property
    def rows(self) -> int:
        """Number of different smoothing vectors (1 without smoothing)."""
        return 1 if self.smooth_scale is None else len(self.smooth_scale)

    @property
    def row_shares(self) -> Tensor:
        """Share of the timesteps that use each row, float64 `[row]`."""
        if self._rows is None:
            return torch.full((self.rows,), 1 / self.rows, dtype=torch.float64)
        return torch.bincount(torch.tensor(self._rows), minlength=self.rows) / len(self._rows)

    def row(self) -> int:
        """The row of the present timestep."""
        if self.rows == 1:
            return 0
        if self.clock is None:
            raise RuntimeError("a timestep-dependent QuantOp needs a TimestepClock")
        timestep = self.clock.index
        return timestep if self._rows is None else int(self._rows[timestep])

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the file, by the names that `__init__` takes."""
        return dict(self.state_dict())

    def extra_repr(self) -> str:
        """What `print(model)` says."""
        return f"{self.geometry.kind}, {self.geometry.in_channels}, {self.geometry.out_channels}, {self.recipe.to_config()}"

    def _apply(self, *args: object, **kwargs: object) -> "QuantOp":
        self.cache.clear()  # moved or cast: what is kept is of the old device or dtype
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self.cache.clear()
        super()._load_from_state_dict(*args, **kwargs)
