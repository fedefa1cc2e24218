"""Reads the weights that OpenL3 publishes: Keras' HDF5, gzipped."""

from pathlib import Path

import torch
from torch import Tensor

from audioptq.embed.keras_file import read_keras_layers
from audioptq.embed.openl3_network import CHANNELS, convolution_name
from audioptq.embed.torch_file import not_of

# Keras' names of a layer's arrays, and PyTorch's.
NORMALISATION = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
CONVOLUTION = {"kernel": "weight", "bias": "bias"}
WHAT = "OpenL3's audio weights (openl3_audio_mel256_env-v0_4_0.h5.gz)"


def read_keras_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads `openl3_audio_*.h5.gz`, or the same unpacked, under the names of `OpenL3Network`.

    Kernels turn from `[height, width, in, out]` to `[out, in, height, width]`.

    Raises:
        DamagedArtifactError: If the file is damaged or has other layers.
    """
    layers = read_keras_layers(path, WHAT)
    tensors: dict[str, Tensor] = {}
    expected = [pair for index in range(1, len(CHANNELS)) for pair in _expected(index)]
    found = [set(layer) for layer in layers]
    if found != [set(names) for _, names in expected]:
        raise not_of(path, WHAT, f"it has {len(found)} layers with weights, or in another order than the network's 16")
    for (name, renamed), layer in zip(expected, layers, strict=True):
        for keras_name, torch_name in renamed.items():
            array = torch.from_numpy(layer[keras_name])
            tensors[f"{name}.{torch_name}"] = array.permute(3, 2, 0, 1).contiguous() if array.ndim == 4 else array
        if renamed is NORMALISATION:
            tensors[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return tensors


def _expected(index: int) -> list[tuple[str, dict[str, str]]]:
    return [(f"batch_normalization_{index}", NORMALISATION), (convolution_name(index), CONVOLUTION)]
