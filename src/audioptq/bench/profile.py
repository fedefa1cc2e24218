"""Where the time of a step goes: its seconds, each charged to one kind of work."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from audioptq.machine.device import synchronise
from audioptq.models.base import AudioModel
from audioptq.quantize import QuantOp
from audioptq.quantize.integer.bind import IntegerProduct

KINDS = ("linears", "attention", "norms", "rotary", "quantizing", "rest")
PRODUCTS = {
    "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::_int_mm", "aten::mkldnn_linear",
    "mkldnn::_linear_pointwise", "onednn::qlinear_pointwise",
}  # fmt: skip
ATTENTION = ("aten::_scaled_dot_product", "aten::scaled_dot_product")
# Of stable-audio-tools' transformer; a function of the module that its attention is in.
ROTARY = "apply_rotary_pos_emb"


class Stopwatch:
    """Charges every moment to the innermost kind of work that was entered."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = dict.fromkeys(KINDS, 0.0)
        self._device, self._entered = device, ["rest"]
        self._since = time.perf_counter()

    def enter(self, kind: str) -> None:
        """What follows is of this kind."""
        self._charge()
        self._entered.append(kind)

    def leave(self) -> None:
        """What follows is of the kind before."""
        self._charge()
        self._entered.pop()

    @contextmanager
    def during(self, kind: str) -> Iterator[None]:
        """Within it, time is of this kind."""
        self.enter(kind)
        try:
            yield
        finally:
            self.leave()

    def _charge(self) -> None:
        synchronise(self._device)
        now = time.perf_counter()
        self.seconds[self._entered[-1]] += now - self._since
        self._since = now


def profile_step(model: AudioModel, step: Callable[[], object]) -> dict[str, float]:
    """Seconds of a step by kind, of `KINDS`; they add up to the step, whose watching makes it somewhat slower.

    `linears` are products of matrices, with the scales and unpacking that a kernel does within, and whole layers of other
    libraries; `quantizing` is all else that a quantized layer does: smoothing, ranges, rounding, requantizing the weight, bias.

    Args:
        model: Not compiled: a compiler would put together what is told apart here.
        step: Takes a step.
    """
    device = torch.device(model.device)
    with _Operators(Stopwatch(device)):
        torch.zeros(1).add(1)  # the first operator that is watched imports torch's compiler: seconds that are no step's
    with ExitStack() as undo:
        watch = Stopwatch(device)
        for module in model.network.model.modules():
            _watch_module(module, watch, undo)
        undo.enter_context(_Operators(watch))
        watch.enter("rest")
        step()
        watch.leave()
        return watch.seconds


def _watch_module(module: nn.Module, watch: Stopwatch, undo: ExitStack) -> None:
    kind = _kind_of(module)
    if kind is not None:
        undo.callback(module.register_forward_pre_hook(lambda *_: watch.enter(kind)).remove)
        undo.callback(module.register_forward_hook(lambda *_: watch.leave()).remove)
    if isinstance(module, QuantOp) and isinstance(module.product, IntegerProduct):
        undo.callback(setattr, module.product, "backend", module.product.backend)
        module.product.backend = _WatchedBackend(module.product.backend, watch)  # type: ignore[assignment]
    home = sys.modules[type(module).__module__]
    if hasattr(module, "to_out") and hasattr(home, ROTARY) and not hasattr(getattr(home, ROTARY), "is_watched"):
        undo.callback(setattr, home, ROTARY, getattr(home, ROTARY))
        setattr(home, ROTARY, _watched(getattr(home, ROTARY), watch, "rotary"))


def _kind_of(module: nn.Module) -> str | None:
    if isinstance(module, QuantOp):
        return "quantizing"
    if isinstance(module, nn.Linear | nn.Conv1d):
        return "linears"
    return "norms" if type(module).__name__.endswith("Norm") else None


def _watched(function: Callable[..., Any], watch: Stopwatch, kind: str) -> Callable[..., Any]:
    def watched(*args: Any, **kwargs: Any) -> Any:
        with watch.during(kind):
            return function(*args, **kwargs)

    watched.is_watched = True  # type: ignore[attr-defined]
    return watched


class _WatchedBackend:
    """A backend whose products are charged to `linears`."""

    def __init__(self, backend: Any, watch: Stopwatch) -> None:
        self._backend, self._watch = backend, watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        return _watched(found, self._watch, "linears") if name in ("product", "fused_product") else found


class _Operators(TorchDispatchMode):
    """Charges products and attention, wherever they are called."""

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        kind = "linears" if name in PRODUCTS else "attention" if name.startswith(ATTENTION) else None
        if kind is None:
            return func(*args, **(kwargs or {}))
        with self._watch.during(kind):
            return func(*args, **(kwargs or {}))
