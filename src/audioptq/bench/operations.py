"""What a denoising step has to compute and to move, from the shapes that its layers meet.

Of a linear layer (or a convolution of width 1) from `k` to `n` channels on `m` tokens, both halves of the guidance counted:

- operations: `2 m k n`, a multiplication and an addition for each pair of token and weight;
- values: `k n` weights, `m k` inputs, `m n` outputs, each moved once.

Of an attention of width `d` (all heads together) from `q` tokens to `t` tokens, in each of `b` sequences:

- operations: `4 b q t d`, `2 b q t d` each for `Q K^T` and for the product with the values;
- values: `b d (2 q + 2 t)`, for queries, keys, values and outputs; scores stay on the chip.

Norms, activations, rotary embeddings and quantizing are counted as no work: what they take is the distance to the roof.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from audioptq.models.base import AudioModel

# Bytes of a value: weights and inputs of the products in the blocks, outputs, and everything in the other layers.
Widths = Mapping[str, float]
MOVED = ("weights", "inputs", "outputs")
FLOAT32: Widths = {"weights": 4, "inputs": 4, "outputs": 4, "rest": 4}
BFLOAT16: Widths = {"weights": 2, "inputs": 2, "outputs": 2, "rest": 2}
INT8: Widths = {"weights": 1, "inputs": 1, "outputs": 4, "rest": 4}


def count_operations(model: AudioModel, step: Callable[[], object]) -> dict[str, Any]:
    """Operations and values of a step, summed over `blocks` (the layers that recipes choose from), `rest` and `attention`.

    Args:
        model: In full precision, its layers as they were built.
        step: Takes a step; the layers are watched while it does.

    Returns:
        For each of the three a mapping with `operations`, `weights`, `inputs` and `outputs`.
    """
    found = {name: dict.fromkeys(("operations", *MOVED), 0) for name in ("blocks", "rest", "attention")}
    chosen = {site.name for site in model.sites()}
    removers = []
    for name, module in model.network.named_modules():
        total = found["blocks" if name in chosen else "rest"]
        if isinstance(module, nn.Linear | nn.Conv1d) and name.startswith("model."):
            removers.append(module.register_forward_hook(_linear_counter(total)).remove)
        elif hasattr(module, "to_out") and hasattr(module, "num_heads"):
            counter = _attention_counter(found["attention"], bool(getattr(module, "differential", False)))
            removers.append(module.register_forward_hook(counter, with_kwargs=True).remove)
    try:
        step()
    finally:
        for remove in removers:
            remove()
    return found


def total_operations(counts: Mapping[str, Mapping[str, float]]) -> float:
    """Operations of a step."""
    return sum(part["operations"] for part in counts.values())


def total_bytes(counts: Mapping[str, Mapping[str, float]], widths: Widths) -> float:
    """Bytes that a step moves in a form with `widths`, each value once."""
    blocks = sum(counts["blocks"][kind] * widths[kind] for kind in MOVED)
    others = [counts[part][kind] for part in ("rest", "attention") for kind in MOVED]
    return blocks + sum(others) * widths["rest"]


def _linear_counter(total: dict[str, Any]) -> Callable[..., None]:
    def count(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        weight: Any = module.weight
        n, k = weight.shape[:2]
        m = args[0].numel() // k
        total["operations"] += 2 * m * k * n
        total["weights"] += k * n
        total["inputs"] += m * k
        total["outputs"] += m * n

    return count


def _attention_counter(total: dict[str, Any], is_differential: bool) -> Callable[..., None]:
    times = 2 if is_differential else 1  # one subtracts a second attention from the first

    def count(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        x = args[0] if args else kwargs["x"]
        context = kwargs.get("context", args[1] if len(args) > 1 else None)
        b, q, d = x.shape
        t = q if context is None else context.shape[1]
        total["operations"] += times * 4 * b * q * t * d
        total["inputs"] += times * b * d * (q + 2 * t)
        total["outputs"] += times * b * d * q

    return count
