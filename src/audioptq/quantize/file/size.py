"""Where the bytes of a quantized model's file go."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from audioptq.quantize.file.parts import component_of, count_bytes
from audioptq.quantize.layers.linear import QuantLinear
from audioptq.quantize.layers.unquantized import quantized_tensor_names


def size_record(
    path: str | Path, tensors: Mapping[str, Tensor], module: nn.Module, components: Mapping[str, str]
) -> dict[str, Any]:
    """The size of a file in bytes: in all, by component and by kind of tensor.

    Args:
        path: The file.
        tensors: What it holds.
        module: The model that it was made from.
        components: Prefix of tensor names -> component.

    Returns:
        `total`; `components` (with `other` for tensors under no prefix); `parts`: qdata, scale, smooth_scale, low_rank,
        full_precision (weights that the simulated form keeps), rest, header; `denoiser_fp32`: what the denoiser takes
        with every float in 32 bits. Parts add up to the total, and so do components with the header.
    """
    layers = [name for name, layer in module.named_modules() if isinstance(layer, QuantLinear)]
    counted = count_bytes({name: tensor.nbytes for name, tensor in tensors.items()}, layers, components)
    return {
        "total": Path(path).stat().st_size,
        "components": counted.components,
        "parts": counted.parts | {"header": _header_bytes(path)},
        "denoiser_fp32": _fp32_bytes(module, components, "denoiser"),
    }


def _fp32_bytes(module: nn.Module, components: Mapping[str, str], component: str) -> int:
    owned = quantized_tensor_names(module)
    total = 0
    for name, tensor in module.state_dict().items():
        if name not in owned and component_of(name, components) == component:
            total += tensor.numel() * (4 if tensor.is_floating_point() else tensor.element_size())
    for name, layer in module.named_modules():
        if isinstance(layer, QuantLinear) and component_of(name, components) == component:
            total += 4 * layer.in_features * layer.out_features
    return total


def _header_bytes(path: str | Path) -> int:
    """A safetensors file starts with the length of its header, 8 bytes little-endian, which counts what follows."""
    with Path(path).open("rb") as handle:
        return 8 + int.from_bytes(handle.read(8), "little")
