"""Networks that take no memory before their weights come, and little before they are used."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from audioptq.models.stable_audio.build import WithoutInitialising
from audioptq.models.stable_audio.upstream import GLU


class OnMeta(WithoutInitialising):
    """Within it the layers of `torch.nn` make their weights on the meta device, and nothing is computed from them.

    Weights that were made in memory, and let go untouched, would leave holes of their size in the heap: no memory yet, but
    activations fall into them, and what they touch is not given back to the system.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answers for `torch.empty`, as layers call it, and for weight normalisation; the base class sees to the others."""
        kwargs = kwargs or {}
        if function is torch.empty and kwargs.get("device", "given by no layer") is None:
            return torch.empty(*args, **{**kwargs, "device": "meta"})
        if function in (torch.norm_except_dim, torch._weight_norm) and args[0].is_meta:
            # Shapes alone: to find them, torch would import its compiler and sympy, 80 MB and two seconds.
            weight, dim = args[0], args[2]
            norm_shape = [size if axis == dim else 1 for axis, size in enumerate(weight.shape)]
            return weight.new_empty(weight.shape if function is torch._weight_norm else norm_shape)
        return super().__torch_function__(function, types, args, kwargs)


@contextmanager
def without_weights() -> Iterator[None]:
    """Networks built within have their parameters on the meta device: shapes and types, no memory.

    Buffers are made as ever, since those that no state dict holds (rotary frequencies, filter banks) are computed while the
    network is built. Weight normalisation, which would compute and keep a copy of each weight, finds nothing to compute on.
    """
    register = nn.Module.register_parameter

    def register_on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None:
            param = nn.Parameter(param.detach().to("meta"), requires_grad=param.requires_grad)
        register(self, name, param)

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign]
    try:
        with OnMeta():
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def dtypes_of(module: nn.Module | None) -> dict[str, torch.dtype]:
    """The types of a module's tensors, by their names."""
    state: dict[str, Any] = {} if module is None else module.state_dict()
    return {name: tensor.dtype for name, tensor in state.items()}


def read_in(module: nn.Module, dtypes: Mapping[str, torch.dtype]) -> None:
    """Gives a module whose tensors lie in a file memory of its own, in the types that it computes in."""
    with torch.inference_mode(False):  # tensors made in inference mode could not be changed outside of it
        own = {name: tensor.to(dtypes[name], copy=True) for name, tensor in module.state_dict().items()}
        # stable-audio-tools' pretransform has a `load_state_dict` of its own, for other names.
        nn.Module.load_state_dict(module, own, assign=True)


class OverwritingSiLU(nn.SiLU):
    """A SiLU that writes over its input, to the bit the same; where a gradient may be asked for, the ordinary one."""

    def forward(self, input: Tensor) -> Tensor:
        """Of any shape."""
        return functional.silu(input, inplace=not torch.is_grad_enabled())


def overwrite_gates(network: nn.Module) -> None:
    """Lets gated feed-forwards write the activated gate over the gate, which nobody else reads.

    They are where a step's memory peaks: 12,288 channels in Stable Audio Open, of which the gate is half.
    """
    for module in network.modules():
        if isinstance(module, GLU) and type(module.act) is nn.SiLU:
            module.act = OverwritingSiLU()
