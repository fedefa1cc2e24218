"""How the tensors that no recipe quantizes are stored: in fewer bits where they fit."""

import torch
from torch import Tensor, nn

from audioptq.quantize.layers.cast import CastLayer
from audioptq.quantize.layers.quant_op import QuantOp

# Frequencies of the rotary position embedding: their error is multiplied by the position, up to 0.2 rad at the thousandth.
KEPT_NAME = "inv_freq"
# bfloat16 rounds a normal number by at most 2^-9 of itself, float16 by 2^-11.
LARGEST_RELATIVE_ERROR = 2.0**-8


def storage_dtype(name: str, tensor: Tensor, rest_dtype: str) -> torch.dtype:
    """The dtype in which a tensor that is not quantized is stored.

    Only float32 tensors change: others were chosen with care by whoever made the model. One that the smaller type
    cannot hold (float16 overflows at 65504 and loses digits below 6e-5) stays float32.
    """
    if tensor.dtype != torch.float32 or rest_dtype == "float32" or name.endswith(KEPT_NAME):
        return tensor.dtype
    smaller: torch.dtype = getattr(torch, rest_dtype)
    rounded = tensor.to(smaller).float()
    if not torch.isfinite(rounded).all():
        return tensor.dtype
    is_close = torch.linalg.vector_norm(rounded - tensor) <= LARGEST_RELATIVE_ERROR * torch.linalg.vector_norm(tensor)
    return smaller if is_close else tensor.dtype


def quantized_tensor_names(module: nn.Module) -> dict[str, str]:
    """State-dict name -> name within its layer (`qdata`, `low_rank.a`, ...) of what the quantized layers own.

    Biases are not among them: they are stored like any other tensor that is not quantized.
    """
    return {
        f"{prefix}.{name}": name
        for prefix, layer in module.named_modules()
        if isinstance(layer, QuantOp)
        for name in layer.state_dict()
        if name != "bias"
    }


def round_rest(module: nn.Module, rest_dtype: str) -> None:
    """Rounds, in place, every tensor that is not quantized to what its file will hold.

    The module in memory then computes exactly what one read back from the file computes.
    """
    owned = quantized_tensor_names(module)
    for name, tensor in module.state_dict().items():
        if name not in owned and isinstance(tensor, Tensor):
            tensor.copy_(tensor.to(storage_dtype(name, tensor, rest_dtype)))


def cast_layer_names(module: nn.Module) -> list[str]:
    """Names of the layers that compute in a lower float type."""
    return [name for name, layer in module.named_modules() if isinstance(layer, CastLayer)]
