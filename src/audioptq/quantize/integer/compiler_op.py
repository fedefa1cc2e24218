"""Integer layers as one operator each, whose inside torch's compiler does not look at.

What a layer does depends on Python: the clock's timestep, the packed weight that is kept, a backend's kernel. Traced, each timestep
would be a graph of its own. As an operator a layer runs as ever, and the compiler puts together all that is between layers.
"""

from itertools import count
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from audioptq.quantize.integer.linear import IntegerLinear

# An operator takes numbers and tensors, no modules: a layer is known by a number.
_LAYERS: WeakValueDictionary[int, IntegerLinear] = WeakValueDictionary()
_NUMBERS = count()


def make_opaque(module: nn.Module) -> list[IntegerLinear]:
    """Makes each integer layer an operator to the compiler, in place, and returns them.

    Last of all: layers of a copy, or such as take the place of these, would still be these.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, IntegerLinear)]
    for layer in layers:
        layer.forward = _Operator(layer)  # type: ignore[method-assign]
    return layers


class _Operator:
    """A layer's `forward`."""

    def __init__(self, layer: IntegerLinear) -> None:
        self.number = next(_NUMBERS)
        _LAYERS[self.number] = layer

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.audioptq.integer_linear(x, self.number)
        return y


@torch.library.custom_op("audioptq::integer_linear", mutates_args=())
def _integer_linear(x: Tensor, number: int) -> Tensor:
    return IntegerLinear.forward(_LAYERS[number], x)


@_integer_linear.register_fake
def _shape(x: Tensor, number: int) -> Tensor:
    layer = _LAYERS[number]
    return x.new_empty(*x.shape[:-1], layer.out_features, dtype=layer.result_dtype(x))
