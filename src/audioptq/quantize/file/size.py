"""Where the bytes of a quantized model's file go: what each tensor is for is told by its name."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

PARTS = {
    "qdata": "qdata",
    "scale": "scale",
    "act_scale": "scale",
    "smooth_scale": "smooth_scale",
    "smooth_row": "smooth_scale",
    "low_rank.a": "low_rank",
    "low_rank.b": "low_rank",
    "weight": "full_precision",
}
REST = "rest"


@dataclass(frozen=True)
class ByteCounts:
    """Bytes of tensors.

    Attributes:
        components: By component; `other` for tensors under no prefix.
        parts: By kind; every kind is there.
    """

    components: dict[str, int]
    parts: dict[str, int]


def count_bytes(n_bytes: Mapping[str, int], layers: Collection[str], components: Mapping[str, str]) -> ByteCounts:
    """Adds up the bytes of tensors by component and by kind.

    Args:
        n_bytes: By name of tensor.
        layers: Names of the quantized layers.
        components: Prefix of tensor names -> component.
    """
    layers = set(layers)
    by_part = dict.fromkeys([*PARTS.values(), REST], 0)
    by_component = dict.fromkeys(components.values(), 0)
    for name, size in n_bytes.items():
        by_part[part_of(name, layers)] += size
        component = component_of(name, components)
        by_component[component] = by_component.get(component, 0) + size
    return ByteCounts(by_component, by_part)


def part_of(name: str, layers: Collection[str]) -> str:
    """The kind of a tensor; biases and all that is outside the quantized layers are the rest."""
    for suffix, part in PARTS.items():
        if name.endswith(f".{suffix}") and name.removesuffix(f".{suffix}") in layers:
            return part
    return REST


def component_of(name: str, components: Mapping[str, str]) -> str:
    """The component under whose prefix a tensor's name falls, the longest prefix first."""
    prefixes = [prefix for prefix in components if name.startswith(prefix)]
    return components[max(prefixes, key=len)] if prefixes else "other"


def matrix_shape(layer: Mapping[str, Any]) -> tuple[int, int]:
    """`(out, in * taps)` of a layer, from its entry in a file's record."""
    out_channels, *rest = layer["shape"]
    return out_channels, math.prod(rest)


def size_record(
    path: str | Path,
    tensors: "Mapping[str, Tensor]",
    layers: Mapping[str, Mapping[str, Any]],
    components: Mapping[str, str],
) -> dict[str, Any]:
    """The size of a file in bytes: in all, by component and by kind of tensor.

    Args:
        path: The file.
        tensors: What it holds.
        layers: The quantized layers, as the file's record has them.
        components: Prefix of tensor names -> component.

    Returns:
        `total`; `components` (with `other` for tensors under no prefix); `parts`: qdata, scale, smooth_scale, low_rank,
        full_precision (weights that the simulated form keeps), rest, header; `denoiser_fp32`: what the denoiser takes
        with every float in 32 bits. Parts add up to the total, and so do components with the header.
    """
    counted = count_bytes({name: tensor.nbytes for name, tensor in tensors.items()}, layers, components)
    fp32 = sum(
        4 * math.prod(matrix_shape(layer))
        for name, layer in layers.items()
        if component_of(name, components) == "denoiser"
    )
    for name, tensor in tensors.items():
        if part_of(name, layers) == REST and component_of(name, components) == "denoiser":
            fp32 += tensor.numel() * (4 if tensor.is_floating_point() else tensor.element_size())
    with Path(path).open("rb") as handle:  # a safetensors file starts with the length of its header
        header = 8 + int.from_bytes(handle.read(8), "little")
    return {
        "total": Path(path).stat().st_size,
        "components": counted.components,
        "parts": counted.parts | {"header": header},
        "denoiser_fp32": fp32,
    }
