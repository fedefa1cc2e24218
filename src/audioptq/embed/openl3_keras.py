"""Reads the weights that OpenL3 publishes: Keras' HDF5, gzipped."""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audioptq.embed.openl3_network import CHANNELS, convolution_name
from audioptq.embed.torch_file import not_of

# Keras' names of a layer's arrays, and PyTorch's.
NORMALISATION = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
CONVOLUTION = {"kernel": "weight", "bias": "bias"}
WHAT = "OpenL3's audio weights (openl3_audio_mel256_env-v0_4_0.h5.gz)"


def read_keras_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads `openl3_audio_*.h5.gz`, or the same unpacked, under the names of `OpenL3Network`.

    Layers are taken in the file's order, as Keras' own `load_weights` does: their numbers differ between versions of Keras.
    Kernels turn from `[height, width, in, out]` to `[out, in, height, width]`.

    Raises:
        DamagedArtifactError: If the file is damaged or has other layers.
    """
    import h5py

    try:
        content = Path(path).read_bytes()
        unpacked = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        with h5py.File(io.BytesIO(unpacked), "r") as file:
            layers = [layer for layer in _layers(file) if layer]
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zlib.error) as error:
        raise not_of(path, WHAT, str(error)) from error
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


def _layers(file: Any) -> list[dict[str, Any]]:
    """For each layer in order, its arrays by their last name (`kernel` of `conv2d_1/kernel:0`)."""
    group = file if "layer_names" in file.attrs else file["model_weights"]
    layers = [group[name] for name in group.attrs["layer_names"]]
    return [{_last_name(name): layer[name][()] for name in layer.attrs["weight_names"]} for layer in layers]


def _last_name(name: str | bytes) -> str:
    text = name.decode() if isinstance(name, bytes) else name
    return text.rsplit("/", 1)[-1].split(":")[0]
