"""Makes one quantized layer out of a float layer, its recipe and its statistics."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from audioptq.calibrate.act_stats import LayerStats
from audioptq.errors import UserError
from audioptq.quantize.arithmetic.low_rank import LowRankBranch, low_rank_branch
from audioptq.quantize.arithmetic.packing import pack
from audioptq.quantize.arithmetic.primitives import choose_scale
from audioptq.quantize.arithmetic.smooth import smooth_scale, smooth_table, to_fp16
from audioptq.quantize.arithmetic.timestep_groups import row_max
from audioptq.quantize.layers.clock import TimestepClock
from audioptq.quantize.layers.diagnostics import sqnr_db, weight_error
from audioptq.quantize.layers.kinds import Geometry, read_geometry
from audioptq.quantize.layers.quant_op import QuantOp
from audioptq.quantize.layers.stored_weight import granularity_of
from audioptq.quantize.recipe.specs import LayerRecipe
from audioptq.quantize.rounding import round_weight
from audioptq.site import Site


def quantize_layer(
    module: nn.Module,
    site: Site,
    recipe: LayerRecipe,
    stats: LayerStats | None = None,
    clock: TimestepClock | None = None,
) -> tuple[QuantOp, float]:
    """The quantized layer that takes the place of `module`, and how well it keeps the weight.

    Args:
        module: The full-precision layer.
        site: What the model says of it: its kind, and the parts of its input.
        recipe: What is done to it.
        stats: Statistics of its input; needed for smoothing and for static activation ranges.
        clock: Tells the layer its timestep; needed when it has more than one smoothing vector.

    Returns:
        The layer, and the signal-to-quantization-noise ratio of its effective weight in dB, noise power averaged over
        timesteps, the low-rank branch included.

    Raises:
        NotQuantizableError: If it is a layer that can only stay in float.
        UserError: If the statistics or the recipe do not fit the layer; the text goes on from the layer's name.
    """
    geometry = read_geometry(module, site)
    own: Any = module
    weight: Tensor = geometry.matrix(own.weight.detach())
    _check_fit(weight, geometry, recipe, stats)
    tensors = _from_ranges(weight, geometry, recipe, stats) if stats is not None and "absmax" in stats else {}
    recipe = recipe.settled(len(tensors["smooth_scale"])) if recipe.smoothing is not None else recipe
    if own.bias is not None:
        tensors["bias"] = own.bias.detach().clone()
    residual = weight
    if recipe.low_rank is not None and recipe.low_rank.of == "weight":
        branch = _branch_of_weight(weight, geometry, recipe, stats)
        tensors |= {"low_rank.a": branch.a, "low_rank.b": branch.b}
        residual = weight - branch.weight(weight.dtype)
    tensors |= _stored_weight(residual, geometry, recipe, tensors.get("smooth_scale"), stats)
    tensors = {name: tensor.to(weight.device) for name, tensor in tensors.items()}
    if recipe.low_rank is not None and recipe.low_rank.of == "error":
        return _with_error_branch(weight, tensors, recipe, geometry, clock)
    layer = QuantOp(tensors, recipe, geometry, clock)
    return layer, sqnr_db(weight, weight_error(weight, layer).power)


def _from_ranges(weight: Tensor, geometry: Geometry, recipe: LayerRecipe, stats: LayerStats) -> dict[str, Tensor]:
    """What calibrated ranges decide: the smoothing vectors, which timestep uses which, and static activation scales.

    `act_scale(row) = max_j (absmax_j(t) / s_j(row)) / qmax` over the row's timesteps, so that nothing seen in
    calibration is clipped; per channel, without the maximum over j.
    """
    tensors = {}
    absmax, row_of_timestep = stats.absmax, torch.zeros(len(stats.absmax), dtype=torch.int64)
    if recipe.smoothing is not None:
        table, row_of_timestep = smooth_table(absmax, _input_absmax(weight, geometry), recipe.smoothing)
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
    weight: Tensor, geometry: Geometry, recipe: LayerRecipe, table: Tensor | None, stats: LayerStats | None
) -> dict[str, Tensor]:
    if recipe.keeps_weight or recipe.weight is None:
        return {"weight": weight.clone()}
    given: Mapping[str, Tensor] | None = stats
    if table is not None and recipe.is_folded:
        weight = weight * geometry.columns(table[0]).to(weight.dtype)
        given = {**(given or {}), "smooth_scale": table[0]}
    qdata, scale = round_weight(weight, recipe.weight, granularity_of(recipe.weight, geometry), given)
    return {"qdata": pack(qdata, recipe.weight.bits), "scale": scale}


def _branch_of_weight(
    weight: Tensor, geometry: Geometry, recipe: LayerRecipe, stats: LayerStats | None
) -> LowRankBranch:
    """SVDQuant: the largest directions of the weight, as smoothed by the one vector that serves all timesteps."""
    assert recipe.low_rank is not None, "called for recipes with a branch"
    reference = None
    if recipe.smoothing is not None and stats is not None:
        absmax = _input_absmax(weight, geometry)
        reference = geometry.columns(to_fp16(smooth_scale(stats.absmax.amax(0), absmax, recipe.smoothing.alpha)))
    return low_rank_branch(weight, recipe.low_rank.rank, reference)


def _with_error_branch(
    weight: Tensor, tensors: dict[str, Tensor], recipe: LayerRecipe, geometry: Geometry, clock: TimestepClock | None
) -> tuple[QuantOp, float]:
    """The branch of `E = mean_t (W - W_t / s_t)`, `W_t` the compute weight at timestep t.

    With one timestep these are eqs. 6-9 exactly. With more, one pair of factors L serves all of them, and
    `sum_t |E_t - L|^2 = sum_t |E_t - E|^2 + T |E - L|^2`: the truncated SVD of the mean error is the best single
    branch.
    """
    assert recipe.low_rank is not None, "called for recipes with a branch"
    bare = QuantOp(tensors, dataclasses.replace(recipe, low_rank=None), geometry, clock)
    error = weight_error(weight, bare)
    branch = low_rank_branch(error.mean, recipe.low_rank.rank)
    layer = QuantOp(tensors | {"low_rank.a": branch.a, "low_rank.b": branch.b}, recipe, geometry, clock)
    return layer, sqnr_db(weight, error.power_with(branch))


def _input_absmax(weight: Tensor, geometry: Geometry) -> Tensor:
    """Largest magnitude of the weights of each input channel, `[in]`, where the statistics are."""
    return weight.abs().amax(0).unflatten(0, (geometry.in_channels, geometry.taps)).amax(-1).cpu()


def _check_fit(weight: Tensor, geometry: Geometry, recipe: LayerRecipe, stats: LayerStats | None) -> None:
    is_static = recipe.activation is not None and recipe.activation.range == "static"
    if stats is None and (recipe.smoothing is not None or is_static):
        raise UserError("has no activation statistics, which smoothing and static ranges need: calibrate first.")
    if stats is not None and "absmax" in stats and stats.absmax.shape[1] != geometry.in_channels:
        raise UserError(
            f"has {geometry.in_channels} input channels, but its activation statistics have {stats.absmax.shape[1]}: they "
            "were calibrated on another model. Calibrate this one."
        )
    if not torch.isfinite(weight).all():
        raise UserError("has weights that are not finite: the model's file is damaged or its training diverged.")
