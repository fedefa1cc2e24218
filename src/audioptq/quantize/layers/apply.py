"""Applies a recipe to a model: chooses its layers, replaces them in place and says what became of each."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd
import torch
from torch import nn

from audioptq.calibrate.act_stats import ActStats
from audioptq.console import progress
from audioptq.errors import UserError, did_you_mean
from audioptq.quantize.arithmetic.timestep_groups import smoothing_gap
from audioptq.quantize.layers.build import quantize_linear
from audioptq.quantize.layers.cast import CastLinear
from audioptq.quantize.layers.clock import TimestepClock
from audioptq.quantize.layers.diagnostics import interaction_share, rows_of_timesteps
from audioptq.quantize.layers.linear import QuantLinear
from audioptq.quantize.layers.unquantized import round_rest
from audioptq.quantize.recipe.choose_layers import choose_layers
from audioptq.quantize.recipe.recipe import FLOAT_BITS, QuantRecipe
from audioptq.site import Site


def quantize_model(
    module: nn.Module, recipe: QuantRecipe, stats: ActStats | None, sites: Sequence[Site], device: str | None = None
) -> tuple[TimestepClock | None, pd.DataFrame]:
    """Replaces the chosen linear layers of `module` in place and rounds the rest to what its file will hold.

    Args:
        module: The full-precision model.
        recipe: What is done.
        stats: Activation statistics; needed if `recipe.needs_calibration`.
        sites: The layers that the model offers, in order of execution.
        device: Where each layer is worked on in turn, to come back afterwards; None for where it is.

    Returns:
        The clock that the sampler must set before each call of the denoiser, None if nothing was calibrated; and a
        table with a row per candidate: layer, in_features, out_features, weight_bits, act_bits, granularity, smoothing
        (what it came out as), rows (smoothing vectors), rank, sqnr_db, smoothing_gap and interaction (measures of
        diagnostics.py and timestep_groups.py), quantized, and if not so, the reason.

    Raises:
        UserError: If a glob matches nothing, or statistics are missing or do not fit.
    """
    candidates = [site.name for site in sites]
    chosen = select_layers(module, recipe, candidates)
    clock = None
    if recipe.needs_calibration:
        _check_stats(recipe, stats, chosen)
        assert stats is not None, "checked by _check_stats"
        clock = TimestepClock(stats.levels)
    rows = {name: _untouched(name, _linear(module, name), recipe, stats) for name in candidates}
    for name in progress(list(chosen), f"quantize {recipe.name}", unit="layer"):
        home = _linear(module, name).weight.device
        _linear(module, name).to(device or home)
        rows[name] |= _replace(module, name, recipe, stats, clock)
        module.get_submodule(name).to(home)
    round_rest(module, str(recipe.rest_dtype))
    return clock, pd.DataFrame(list(rows.values()))


def select_layers(module: nn.Module, recipe: QuantRecipe, candidates: Sequence[str]) -> dict[str, nn.Linear]:
    """The candidates that `recipe.layers` includes and does not exclude, by name, in their order.

    Raises:
        UserError: If a glob of the recipe matches no candidate.
    """
    return {name: _linear(module, name) for name in choose_layers(recipe, candidates)}


def _replace(
    module: nn.Module, name: str, recipe: QuantRecipe, stats: ActStats | None, clock: TimestepClock | None
) -> dict[str, Any]:
    """Puts the new layer in place and returns what changes in its row of the table."""
    linear, layer_recipe = _linear(module, name), recipe.for_layer(name)
    if not layer_recipe.is_quantized:
        if recipe.dtype == "float32":
            return {"reason": "the recipe keeps it in float32"}
        set_module(module, name, CastLinear.of(linear, torch.bfloat16))
        return {"weight_bits": 16, "act_bits": 16, "reason": "computes in bfloat16"}
    layer_stats = stats.layers[name] if recipe.needs_calibration and stats is not None else None
    try:
        layer, weight_sqnr_db = quantize_linear(linear, layer_recipe, layer_stats, clock)
    except UserError as error:
        raise UserError(f"Recipe {recipe.name}: layer {name} {error}") from error
    set_module(module, name, layer)
    gap = None
    if layer.recipe.smoothing is not None and layer_stats is not None:
        absmax = layer_stats.absmax
        gap = smoothing_gap(absmax, rows_of_timesteps(layer, len(absmax)), layer.recipe.smoothing.alpha)
    return _described(layer) | {"sqnr_db": weight_sqnr_db, "smoothing_gap": gap}


def _described(layer: QuantLinear) -> dict[str, Any]:
    recipe = layer.recipe
    return {
        "weight_bits": recipe.weight.bits if recipe.weight else FLOAT_BITS[recipe.dtype],
        "act_bits": recipe.activation.bits if recipe.activation else FLOAT_BITS[recipe.dtype],
        "granularity": recipe.weight.granularity if recipe.weight else None,
        "smoothing": recipe.smoothing.kind if recipe.smoothing else None,
        "rows": layer.rows if recipe.smoothing else 0,
        "rank": layer.low_rank.a.shape[1] if layer.low_rank else 0,
        "quantized": True,
        "reason": None,
    }


def _untouched(name: str, linear: nn.Linear, recipe: QuantRecipe, stats: ActStats | None) -> dict[str, Any]:
    """The row of a layer that the recipe leaves alone."""
    excluded_by = [glob for glob in recipe.layers.exclude if fnmatchcase(name, glob)]
    reason = f"excluded by {excluded_by[0]}" if excluded_by else "not included"
    return {
        "layer": name,
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "weight_bits": 32,
        "act_bits": 32,
        "granularity": None,
        "smoothing": None,
        "rows": 0,
        "rank": 0,
        "sqnr_db": None,
        "smoothing_gap": None,
        "interaction": interaction_share(stats.layers[name].absmax)
        if stats is not None and "absmax" in stats.layers.get(name, {})
        else None,
        "quantized": False,
        "reason": reason,
    }


def _check_stats(recipe: QuantRecipe, stats: ActStats | None, names: Iterable[str]) -> None:
    if stats is None:
        raise UserError(
            f"Recipe {recipe.name} needs activation statistics (for smoothing or a static range): calibrate first."
        )
    lacking = sorted(recipe.needs() - set(stats.statistics))
    if lacking:
        raise UserError(
            f"Recipe {recipe.name} needs the statistics {', '.join(lacking)}, which this calibration did not collect (it has "
            f"{', '.join(stats.statistics)}): calibrate again."
        )
    missing = [name for name in names if name not in stats.layers]
    if missing:
        raise UserError(
            f"Recipe {recipe.name}: the activation statistics lack {len(missing)} of the chosen layers, for example "
            f"{missing[0]}.{did_you_mean(missing[0], stats.layers)} They were calibrated on another model or with other "
            "layers: calibrate again."
        )


def set_module(module: nn.Module, name: str, new: nn.Module) -> None:
    """Puts `new` where the submodule `name` is."""
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, new)


def _linear(module: nn.Module, name: str) -> nn.Linear:
    layer = module.get_submodule(name)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"candidate {name} is {type(layer).__name__}, not a linear layer")
    return layer
