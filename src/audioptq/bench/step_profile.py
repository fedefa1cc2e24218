"""Where the time of a step goes: its seconds by kind of work, from torch's profiler."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from audioptq.bench.forms import denoiser
from audioptq.machine.device import synchronise
from audioptq.models.base import AudioModel
from audioptq.quantize import QuantOp
from audioptq.quantize.integer.bind import backend_of

KINDS = ("linears", "attention", "norms", "quantizing", "rest")
MARK = "audioptq::"
PRODUCTS = {
    "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::_int_mm", "aten::convolution",
    "aten::mkldnn_linear", "mkldnn::_linear_pointwise", "onednn::qlinear_pointwise",
}  # fmt: skip


def profile_step(model: AudioModel, step: Callable[[], object]) -> dict[str, float]:
    """Seconds of a step by kind, of `KINDS`; they add up to the step, whose watching makes it somewhat slower.

    `linears` are products of matrices, with the scales and unpacking that a kernel does within, and whole layers of other
    libraries; `quantizing` is all else that a quantized layer does: smoothing, ranges, rounding, requantizing the weight, bias.

    Args:
        model: Not compiled: a compiler would put together what is told apart here.
        step: Takes a step.
    """
    is_on_gpu = model.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_on_gpu else [])]
    with ExitStack() as undo:
        backends: dict[int, Any] = {}
        for module in denoiser(model).modules():
            if kind := _kind_of_module(module):
                _record(module, "forward", kind, undo)
            if isinstance(module, QuantOp) and (backend := backend_of(module)) is not None:
                backends[id(backend)] = backend
        for backend in backends.values():
            for method in ("product", "fused_product"):
                if hasattr(backend, method):
                    _record(backend, method, "linears", undo)
        with profile(activities=activities) as found:
            started = time.perf_counter()
            step()
            synchronise(model.device)
            elapsed = time.perf_counter() - started
    seconds = dict.fromkeys(KINDS, 0.0)
    for event in found.events() or []:
        if event.device_type == DeviceType.CPU:
            spent = event.self_device_time_total if is_on_gpu else event.self_cpu_time_total
            seconds[_kind_of(event)] += spent / 1e6
    seconds["rest"] = max(elapsed - sum(seconds[kind] for kind in KINDS[:-1]), 0.0)
    return seconds


def _kind_of(event: Any) -> str:
    """Of the innermost product, attention or marked module around an event."""
    while event is not None:
        if event.name in PRODUCTS:
            return "linears"
        if "scaled_dot_product" in event.name:
            return "attention"
        if event.name.startswith(MARK):
            return str(event.name.removeprefix(MARK))
        event = event.cpu_parent
    return "rest"


def _kind_of_module(module: nn.Module) -> str | None:
    if isinstance(module, QuantOp):
        return "quantizing"
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d):
        return "linears"
    return "norms" if type(module).__name__.endswith("Norm") else None


def _record(owner: Any, method: str, kind: str, undo: ExitStack) -> None:
    """Has calls of a method recorded under their kind."""
    original = getattr(owner, method)

    def recorded(*args: Any, **kwargs: Any) -> Any:
        with record_function(MARK + kind):
            return original(*args, **kwargs)

    if method in vars(owner):
        undo.callback(setattr, owner, method, original)
    else:
        undo.callback(delattr, owner, method)
    setattr(owner, method, recorded)
