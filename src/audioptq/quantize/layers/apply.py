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
from audioptq.quantize.layers.build import quantize_layer
from audioptq.quantize.layers.cast import CastLayer
from audioptq.quantize.layers.clock import TimestepClock
from audioptq.quantize.layers.diagnostics import interaction_share, rows_of_timesteps
from audioptq.quantize.layers.kinds import NotQuantizableError, parts_text, read_geometry
from audioptq.quantize.layers.quant_op import QuantOp
from audioptq.quantize.layers.unquantized import round_rest
from audioptq.quantize.recipe.choose_layers import choose_layers
from audioptq.quantize.recipe.recipe import FLOAT_BITS, QuantRecipe
from audioptq.site import Site


def quantize_model(
    module: nn.Module, recipe: QuantRecipe, stats: ActStats | None, sites: Sequence[Site], device: str | None = None
) -> tuple[TimestepClock | None, pd.DataFrame]:
    """Replaces the chosen layers of `module` in place and rounds the rest to what its file will hold.

    A layer that cannot be quantized stays in float, and its row says why.

    Args:
        module: The full-precision model.
        recipe: What is done.
        stats: Activation statistics; needed if `recipe.needs_calibration`.
        sites: The layers that the model offers, in order of execution.
        device: Where each layer is worked on in turn, to come back afterwards; None for where it is.

    Returns:
        The clock that the sampler must set before each call of the denoiser, None if nothing was calibrated; and a
        table with a row per candidate: layer; kind, block, role and parts of its site (parts as text, such as `up 144 | skip
        96`, empty for an input of one piece); in_features and out_features (channels); weight_bits, act_bits, granularity,
        smoothing (what it came out as), rows (smoothing vectors), rank, sqnr_db, smoothing_gap and interaction (measures of
        diagnostics.py and timestep_groups.py), quantized, and if not so, the reason.

    Raises:
        UserError: If a glob matches nothing, or statistics are missing or do not fit.
    """
    by_name = {site.name: site for site in sites}
    chosen = choose_layers(recipe, list(by_name))
    clock = None
    if recipe.needs_calibration:
        _check_stats(recipe, stats, [name for name in chosen if _refusal(module, by_name[name]) is None])
        assert stats is not None, "checked by _check_stats"
        clock = TimestepClock(stats.levels)
    rows = {site.name: _untouched(module.get_submodule(site.name), site, recipe, stats) for site in sites}
    for name in progress(chosen, f"quantize {recipe.name}", unit="layer"):
        layer = module.get_submodule(name)
        home = next((tensor.device for tensor in layer.parameters()), torch.device("cpu"))
        layer.to(device or home)
        rows[name] |= _replace(module, by_name[name], recipe, stats, clock)
        module.get_submodule(name).to(home)
    round_rest(module, str(recipe.rest_dtype))
    return clock, pd.DataFrame(list(rows.values()))


def _replace(
    module: nn.Module, site: Site, recipe: QuantRecipe, stats: ActStats | None, clock: TimestepClock | None
) -> dict[str, Any]:
    """Puts the new layer in place and returns what changes in its row of the table."""
    name = site.name
    original, layer_recipe = module.get_submodule(name), recipe.for_layer(name)
    refusal = _refusal(module, site)
    if refusal is not None:
        return {"reason": f"stays in float, since it {refusal}"}
    if not layer_recipe.is_quantized:
        if recipe.dtype == "float32":
            return {"reason": "the recipe keeps it in float32"}
        set_module(module, name, CastLayer.of(original, read_geometry(original, site), torch.bfloat16))
        return {"weight_bits": 16, "act_bits": 16, "reason": "computes in bfloat16"}
    layer_stats = stats.layers[name] if recipe.needs_calibration and stats is not None else None
    try:
        layer, weight_sqnr_db = quantize_layer(original, site, layer_recipe, layer_stats, clock)
    except UserError as error:
        raise UserError(f"Recipe {recipe.name}: layer {name} {error}") from error
    set_module(module, name, layer)
    gap = None
    if layer.recipe.smoothing is not None and layer_stats is not None:
        absmax = layer_stats.absmax
        gap = smoothing_gap(absmax, rows_of_timesteps(layer, len(absmax)), layer.recipe.smoothing.alpha)
    return _described(layer) | {"sqnr_db": weight_sqnr_db, "smoothing_gap": gap}


def _refusal(module: nn.Module, site: Site) -> str | None:
    """Why a layer can only stay in float, as a clause; None if it can be quantized."""
    try:
        read_geometry(module.get_submodule(site.name), site)
    except NotQuantizableError as error:
        return str(error)
    return None


def _described(layer: QuantOp) -> dict[str, Any]:
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


def _untouched(layer: nn.Module, site: Site, recipe: QuantRecipe, stats: ActStats | None) -> dict[str, Any]:
    """The row of a layer that the recipe leaves alone."""
    name = site.name
    in_channels, out_channels = (
        next((int(getattr(layer, own)) for own in names if hasattr(layer, own)), None)
        for names in (("in_features", "in_channels"), ("out_features", "out_channels"))
    )
    excluded_by = [glob for glob in recipe.layers.exclude if fnmatchcase(name, glob)]
    reason = f"excluded by {excluded_by[0]}" if excluded_by else "not included"
    return {
        "layer": name,
        "kind": site.kind,
        "block": site.block,
        "role": site.role,
        "parts": parts_text(site.parts),
        "in_features": in_channels,
        "out_features": out_channels,
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
            f"Recipe {recipe.name} needs activation statistics (for smoothing, a static range or its rounding): calibrate first."
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
