"""Makes one quantized layer out of a linear layer, its recipe and its activation ranges."""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from audioptq.calibrate.act_stats import LayerStats
from audioptq.errors import UserError
from audioptq.quantize.arithmetic.granularity import weight_granularity
from audioptq.quantize.arithmetic.low_rank import LowRankBranch, low_rank_branch
from audioptq.quantize.arithmetic.packing import pack
from audioptq.quantize.arithmetic.primitives import choose_scale
from audioptq.quantize.arithmetic.smooth import smooth_scale, smooth_table, to_fp16
from audioptq.quantize.arithmetic.timestep_groups import row_max
from audioptq.quantize.layers.clock import TimestepClock
from audioptq.quantize.layers.diagnostics import sqnr_db, weight_error
from audioptq.quantize.layers.linear import QuantLinear
from audioptq.quantize.recipe.specs import LayerRecipe
from audioptq.quantize.rounding import round_weight


def quantize_linear(
    linear: nn.Linear, recipe: LayerRecipe, stats: LayerStats | None = None, clock: TimestepClock | None = None
) -> tuple[QuantLinear, float]:
    """The quantized layer that takes the place of `linear`, and how well it keeps the weight.

    Args:
        linear: The full-precision layer.
        recipe: What is done to it.
        stats: Ranges of its input; needed for smoothing and for static activation ranges.
        clock: Tells the layer its timestep; needed when it has more than one smoothing vector.

    Returns:
        The layer, and the signal-to-quantization-noise ratio of its effective weight in dB, noise power averaged over
        timesteps, the low-rank branch included.

    Raises:
        UserError: If the statistics or the recipe do not fit the layer; the text goes on from the layer's name.
    """
    weight = linear.weight.detach()
    shape = (linear.out_features, linear.in_features)
    _check_fit(weight, recipe, stats)
    tensors = _from_ranges(weight, recipe, stats) if stats is not None and "absmax" in stats else {}
    recipe = recipe.settled(len(tensors["smooth_scale"])) if recipe.smoothing is not None else recipe
    if linear.bias is not None:
        tensors["bias"] = linear.bias.detach().clone()
    residual = weight
    if recipe.low_rank is not None and recipe.low_rank.of == "weight":
        branch = _branch_of_weight(weight, recipe, stats)
        tensors |= {"low_rank.a": branch.a, "low_rank.b": branch.b}
        residual = weight - branch.weight(weight.dtype)
    tensors |= _stored_weight(residual, recipe, tensors.get("smooth_scale"), stats)
    tensors = {name: tensor.to(weight.device) for name, tensor in tensors.items()}
    if recipe.low_rank is not None and recipe.low_rank.of == "error":
        return _with_error_branch(weight, tensors, recipe, clock)
    layer = QuantLinear(tensors, recipe, shape, clock)
    return layer, sqnr_db(weight, weight_error(weight, layer).power)


def _from_ranges(weight: Tensor, recipe: LayerRecipe, stats: LayerStats) -> dict[str, Tensor]:
    """What calibrated ranges decide: the smoothing vectors, which timestep uses which, and static activation scales.

    `act_scale(row) = max_j (absmax_j(t) / s_j(row)) / qmax` over the row's timesteps, so that nothing seen in
    calibration is clipped; per channel, without the maximum over j.
    """
    tensors = {}
    absmax, row_of_timestep = stats.absmax, torch.zeros(len(stats.absmax), dtype=torch.int64)
    if recipe.smoothing is not None:
        table, row_of_timestep = smooth_table(absmax, _input_absmax(weight), recipe.smoothing)
        tensors["smooth_scale"] = table
        if 1 < len(table) < len(row_of_timestep):
            tensors["smooth_row"] = row_of_timestep.to(torch.int16)
        absmax = absmax / table[row_of_timestep].to(absmax.dtype)
    if recipe.activation is not None and recipe.activation.range == "static":
        absmax = row_max(absmax, row_of_timestep)
        absmax = absmax.amax(-1) if recipe.activation.granularity == "per_tensor" else absmax
        tensors["act_scale"] = choose_scale(absmax, recipe.activation.bits)
    return tensors


def _stored_weight(
    weight: Tensor, recipe: LayerRecipe, table: Tensor | None, stats: LayerStats | None
) -> dict[str, Tensor]:
    if recipe.keeps_weight or recipe.weight is None:
        return {"weight": weight.clone()}
    given: Mapping[str, Tensor] | None = stats
    if table is not None and recipe.is_folded:
        weight = weight * table[0].to(weight.dtype)
        given = {**(given or {}), "smooth_scale": table[0]}
    qdata, scale = round_weight(weight, recipe.weight, weight_granularity(recipe.weight), given)
    return {"qdata": pack(qdata, recipe.weight.bits), "scale": scale}


def _branch_of_weight(weight: Tensor, recipe: LayerRecipe, stats: LayerStats | None) -> LowRankBranch:
    """SVDQuant: the largest directions of the weight, as smoothed by the one vector that serves all timesteps."""
    assert recipe.low_rank is not None, "called for recipes with a branch"
    reference = None
    if recipe.smoothing is not None and stats is not None:
        reference = to_fp16(smooth_scale(stats.absmax.amax(0), _input_absmax(weight), recipe.smoothing.alpha))
    return low_rank_branch(weight, recipe.low_rank.rank, reference)


def _with_error_branch(
    weight: Tensor, tensors: dict[str, Tensor], recipe: LayerRecipe, clock: TimestepClock | None
) -> tuple[QuantLinear, float]:
    """The branch of `E = mean_t (W - W_t / s_t)`, `W_t` the compute weight at timestep t.

    With one timestep these are eqs. 6-9 exactly. With more, one pair of factors L serves all of them, and
    `sum_t |E_t - L|^2 = sum_t |E_t - E|^2 + T |E - L|^2`: the truncated SVD of the mean error is the best single
    branch.
    """
    assert recipe.low_rank is not None, "called for recipes with a branch"
    shape = (weight.shape[0], weight.shape[1])
    bare = QuantLinear(tensors, dataclasses.replace(recipe, low_rank=None), shape, clock)
    error = weight_error(weight, bare)
    branch = low_rank_branch(error.mean, recipe.low_rank.rank)
    layer = QuantLinear(tensors | {"low_rank.a": branch.a, "low_rank.b": branch.b}, recipe, shape, clock)
    return layer, sqnr_db(weight, error.power_with(branch))


def _input_absmax(weight: Tensor) -> Tensor:
    return weight.abs().amax(0).cpu()  # where the statistics are


def _check_fit(weight: Tensor, recipe: LayerRecipe, stats: LayerStats | None) -> None:
    in_features = weight.shape[1]
    is_static = recipe.activation is not None and recipe.activation.range == "static"
    if stats is None and (recipe.smoothing is not None or is_static):
        raise UserError("has no activation statistics, which smoothing and static ranges need: calibrate first.")
    if stats is not None and "absmax" in stats and stats.absmax.shape[1] != in_features:
        raise UserError(
            f"has {in_features} input channels, but its activation statistics have {stats.absmax.shape[1]}: they were "
            "calibrated on another model. Calibrate this one."
        )
    if not torch.isfinite(weight).all():
        raise UserError("has weights that are not finite: the model's file is damaged or its training diverged.")
