"""What a denoising step has to compute and to move, from the shapes that its layers meet.

Operations are those of `torch.utils.flop_counter`: `2 m k n` for a product of `m` tokens with `k` by `n` channels, a multiplication
and an addition for each pair of token and weight; `4 b q t d` for an attention of width `d` from `q` to `t` tokens in `b` sequences.

Values, each moved once: weights, inputs and outputs of linear layers and convolutions; queries, keys, values and outputs of an
attention, whose scores stay on the chip. Norms, activations, rotary embeddings and quantizing are counted as no work: what they
take is the distance to the roof.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from audioptq.models.base import AudioModel

# Bytes of a value: weights and inputs of the layers that recipes choose from, their outputs, and everything else.
Widths = Mapping[str, float]
MOVED = ("weights", "inputs", "outputs")
FLOAT32: Widths = {"weights": 4, "inputs": 4, "outputs": 4, "rest": 4}
BFLOAT16: Widths = {"weights": 2, "inputs": 2, "outputs": 2, "rest": 2}
INT8: Widths = {"weights": 1, "inputs": 1, "outputs": 4, "rest": 4}
LAYERS = {F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d}


def count_operations(model: AudioModel, step: Callable[[], object]) -> dict[str, Any]:
    """Operations and values of a step.

    Args:
        model: In full precision, its layers as they were built.
        step: Takes a step, which is watched.

    Returns:
        `operations`; `sites`, of the layers that recipes choose from, a mapping with `weights`, `inputs` and `outputs`; and
        `rest`, the values of all other layers.
    """
    values = _Values({id(model.network.get_submodule(site.name).weight) for site in model.sites()})
    # torch counts attention's kernels of GPUs alone.
    of_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    with FlopCounterMode(display=False, custom_mapping=of_cpu) as counter, values:
        step()
    return {"operations": counter.get_total_flops(), "sites": values.sites, "rest": values.rest}


def total_bytes(counts: Mapping[str, Any], widths: Widths) -> float:
    """Bytes that a step moves in a form with `widths`, each value once."""
    return sum(counts["sites"][kind] * widths[kind] for kind in MOVED) + counts["rest"] * widths["rest"]


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


class _Values(TorchFunctionMode):
    """Counts the values that layers and attention are called with."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self._weights, self.sites, self.rest = weights, dict.fromkeys(MOVED, 0), 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = func(*args, **(kwargs or {}))
        if func in LAYERS:
            counts = (args[1].numel(), args[0].numel(), y.numel())
            if id(args[1]) in self._weights:
                self.sites = {kind: self.sites[kind] + n for kind, n in zip(MOVED, counts, strict=True)}
            else:
                self.rest += sum(counts)
        elif func is F.scaled_dot_product_attention:
            self.rest += sum(tensor.numel() for tensor in (*args[:3], y))
        return y
