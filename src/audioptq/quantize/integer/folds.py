"""Static smoothing divided out once, in the norm or the layer before, instead of at each call. Exact but for rounding.

`Q(x / s) W_s^T` needs `x / s`. Where `x` is a norm's output, `gamma / s` and `beta / s` give it; where it is linear in another
layer's output, that layer's rows divided by `s` do (SmoothQuant's migration into the layer norm, carried on to values and GLU).
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor, nn

from audioptq.quantize.integer.linear import IntegerLinear
from audioptq.quantize.layers.apply import set_module
from audioptq.quantize.layers.layer_tensors import BUFFERS
from audioptq.quantize.layers.linear import QuantLinear
from audioptq.quantize.recipe.specs import LayerRecipe

# Of a norm: what its normalised input is multiplied by, and what is added then.
GAIN_AND_SHIFT = ("gamma", "beta")
WIDE = (torch.float32, torch.float64)


class Feed(Protocol):
    """Where a layer's input comes from; `models.feeds.Feed` is one."""

    @property
    def layer(self) -> str:
        """Name of the layer."""
        ...

    @property
    def source(self) -> str:
        """Name of the module whose outputs, each times a number of its own, make the input."""
        ...

    @property
    def rows(self) -> Tensor:
        """Output of the source that each input channel is made of, int64 `[in]`."""
        ...

    @property
    def obstacle(self) -> str | None:
        """Why that does not hold, as a clause; None if it does."""
        ...


def fold_smoothing(module: nn.Module, feeds: Iterable[Feed], layers: Collection[str]) -> pd.DataFrame:
    """Folds the static smoothing of layers into what makes their input, in place and after loading: no file describes it.

    A layer's low-rank branch, which acts on the raw input, has its factor multiplied by the vector, in float32. Static activation
    ranges are those of `x / s` and stay.

    Args:
        module: A model with quantized layers.
        feeds: What makes the input of its layers.
        layers: Names of the quantized layers to fold.

    Returns:
        A row per layer that has smoothing: layer, folded_into (None if it is not), reason (why it is not).
    """
    feed_of = {feed.layer: feed for feed in feeds}
    readers = Counter(feed.source for feed in feed_of.values())
    shared = _shared(module)
    rows = []
    for name in layers:
        layer, feed = module.get_submodule(name), feed_of.get(name)
        if not isinstance(layer, QuantLinear) or layer.smooth_scale is None:
            continue
        reason = _unfoldable(layer, feed)
        if reason is None and feed is not None:
            is_shared = readers[feed.source] > 1 or bool(shared & {name, feed.source})
            reason = "what makes its input serves others too" if is_shared else _immovable(module, feed, layer)
        source = feed.source if reason is None and feed is not None else None
        if reason is None and feed is not None:
            _fold(module, feed, layer)
        rows.append({"layer": name, "folded_into": source, "reason": reason})
    return pd.DataFrame(rows, columns=["layer", "folded_into", "reason"])


def folds_summary(report: pd.DataFrame) -> str:
    """One line about a report of `fold_smoothing`."""
    reasons = report["reason"].value_counts()
    text = f"smoothing folded away in {report['folded_into'].notna().sum()} of {len(report)} layers that have it"
    return text + "".join(f"; {count} divide, since {reason}" for reason, count in reasons.items())


def _unfoldable(layer: QuantLinear, feed: Feed | None) -> str | None:
    """What in the layer itself, or in the way from its source to it, keeps its smoothing; None if nothing does."""
    if not layer.recipe.is_folded:
        return "its smoothing is not static"
    if feed is None:
        return "its input is made by no norm or layer of its block"
    return feed.obstacle


def _immovable(module: nn.Module, feed: Feed, layer: QuantLinear) -> str | None:
    """Why the source cannot make `x / s`; None if it can."""
    source = module.get_submodule(feed.source)
    names = _divided_tensors(source)
    if not names:
        return f"{type(source).__name__} before it is no linear layer and no norm with gain and shift"
    if isinstance(source, QuantLinear) and source.recipe.weight and source.recipe.weight.granularity != "per_channel":
        return f"the layer before has weights with scales {source.recipe.weight.granularity}"
    if any(getattr(source, name).dtype not in WIDE for name in names):
        return "what makes its input has too few digits to be divided exactly"
    smooth = _smooth(layer)
    if not torch.equal(_divisor(source, feed, smooth)[feed.rows.to(smooth.device)], smooth):
        return "its smoothing differs between heads that share their values"
    return None


def _fold(module: nn.Module, feed: Feed, layer: QuantLinear) -> None:
    source, smooth = module.get_submodule(feed.source), _smooth(layer)
    divisor = _divisor(source, feed, smooth)
    quotients = {name: _by_row(getattr(source, name), divisor, torch.div) for name in _divided_tensors(source)}
    if isinstance(source, QuantLinear):
        if source.low_rank is not None:
            quotients["low_rank.b"] = _by_row(source.low_rank.b, divisor, torch.div)
        set_module(module, feed.source, _rebuilt(source, source.recipe, quotients))
    else:
        for name, quotient in quotients.items():
            is_parameter = isinstance(getattr(source, name), nn.Parameter)
            setattr(source, name, nn.Parameter(quotient, requires_grad=False) if is_parameter else quotient)
    changes: dict[str, Tensor | None] = {"smooth_scale": None}
    if layer.weight is not None:
        changes["weight"] = layer.weight * smooth.to(layer.weight.dtype)
    if layer.low_rank is not None:
        changes["low_rank.a"] = _by_row(layer.low_rank.a, smooth, torch.mul)
    set_module(module, feed.layer, _rebuilt(layer, dataclasses.replace(layer.recipe, smoothing=None), changes))


def _divided_tensors(source: nn.Module) -> list[str]:
    """Names of what has a number, or a row of numbers, for each output of a module that is linear in it."""
    if isinstance(source, QuantLinear):
        names: tuple[str, ...] = ("scale", "weight", "bias")
    elif isinstance(source, nn.Linear):
        names = ("weight", "bias")
    else:
        names = GAIN_AND_SHIFT
    return [name for name in names if isinstance(getattr(source, name, None), Tensor)]


def _divisor(source: nn.Module, feed: Feed, smooth: Tensor) -> Tensor:
    """What each output of the source is divided by: 1 where the layer does not read it."""
    outputs = len(getattr(source, _divided_tensors(source)[0]))
    return torch.ones(outputs, dtype=smooth.dtype, device=smooth.device).index_copy(
        0, feed.rows.to(smooth.device), smooth
    )


def _by_row(tensor: Tensor, factor: Tensor, operation: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A tensor with each row multiplied or divided, in 32 bits at least: 16-bit factors of a branch take more digits now."""
    wide = tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))
    return operation(wide, factor.to(wide.dtype).reshape(-1, *[1] * (wide.ndim - 1)))


def _smooth(layer: QuantLinear) -> Tensor:
    assert layer.smooth_scale is not None, "only layers with smoothing come here"
    return layer.smooth_scale[0].to(torch.promote_types(layer.smooth_scale.dtype, torch.float32))


def _rebuilt(layer: QuantLinear, recipe: LayerRecipe, changes: Mapping[str, Tensor | None]) -> QuantLinear:
    """The layer with other tensors and nothing kept of the old ones."""
    tensors = {name: getattr(layer, name) for name in BUFFERS}
    if layer.low_rank is not None:
        tensors |= {"low_rank.a": layer.low_rank.a, "low_rank.b": layer.low_rank.b}
    given = {name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None}
    rebuilt = QuantLinear(given, recipe, (layer.out_features, layer.in_features), layer.clock)
    return IntegerLinear(rebuilt, layer.backend, keep=layer.keep) if isinstance(layer, IntegerLinear) else rebuilt


def _shared(module: nn.Module) -> set[str]:
    """Names of modules that own a tensor which another name, of theirs or of another module, has too."""
    owners: dict[int, set[str]] = {}
    for name, owner in module.named_modules(remove_duplicate=False):
        for tensor in (*owner._parameters.values(), *owner._buffers.values()):
            if tensor is not None:
                owners.setdefault(id(tensor), set()).add(name)
    return {name for names in owners.values() if len(names) > 1 for name in names}
