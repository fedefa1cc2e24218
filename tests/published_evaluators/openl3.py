"""OpenL3's two weights files: Keras' HDF5 as openl3 0.4.2 downloads it, and torchopenl3's state dict; same random network."""

import gzip
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

CHANNELS = (1, 64, 64, 128, 128, 256, 256, 512, 512)


def arrays() -> list[dict[str, np.ndarray]]:
    """Keras' arrays of the 16 layers with weights, in order; NumPy's generator, so that Keras elsewhere can have the same."""
    rng = np.random.default_rng(8)
    layers: list[dict[str, np.ndarray]] = []
    for index, (before, after) in enumerate(pairwise(CHANNELS)):
        # The first normalisation meets decibels between -80 and 0.
        mean, variance = (
            (-40.0, 300.0) if index == 0 else (0.3 * rng.standard_normal(before), rng.uniform(0.5, 2, before))
        )
        layers.append(
            {
                "gamma": rng.uniform(0.5, 1.5, before),
                "beta": 0.3 * rng.standard_normal(before),
                "moving_mean": np.broadcast_to(mean, before),
                "moving_variance": np.broadcast_to(variance, before),
            }
        )
        kernel = rng.standard_normal((3, 3, before, after)) * np.sqrt(2 / (9 * before))
        layers.append({"kernel": kernel, "bias": 0.1 * rng.standard_normal(after)})
    return [{name: array.astype(np.float32) for name, array in layer.items()} for layer in layers]


def keras_layers(layers: list[dict[str, np.ndarray]]) -> list[tuple[str, dict[str, np.ndarray]]]:
    """The layers under Keras' names, with the ones that have no weights in between."""
    named: list[tuple[str, dict[str, np.ndarray]]] = [("input_1", {}), ("melspectrogram", {})]
    for number, (normalisation, convolution) in enumerate(zip(layers[::2], layers[1::2], strict=True), start=1):
        last = number == len(layers) // 2
        named += [(f"batch_normalization_{number}", normalisation), (f"activation_{number}", {})]
        named.append(("audio_embedding_layer" if last else f"conv2d_{number}", convolution))
    return named


def write_keras(path: Path, named: list[tuple[str, dict[str, np.ndarray]]]) -> Path:
    """Writes `path` as Keras' `save_weights` lays a file out, gzipped."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name, _ in named]
        for name, layer in named:
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in layer]
            for key, array in layer.items():
                group.create_dataset(f"{name}/{key}:0", data=array)
    path.write_bytes(gzip.compress(content.getvalue(), compresslevel=1))
    return path


def torch_state(layers: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """The same under torchopenl3's names, with the frontend that its installed version builds."""
    from torchopenl3.models import PytorchOpenl3

    state = PytorchOpenl3("env", "mel256", 512).state_dict()
    names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    for name, layer in keras_layers(layers):
        for key, array in layer.items():
            tensor = torch.from_numpy(array.copy())
            state[f"{name}.{names.get(key, key.replace('kernel', 'weight'))}"] = (
                tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor
            )
    return state


def write(folder: Path) -> dict[str, Path]:
    """Both files."""
    layers = arrays()
    keras = write_keras(folder / "openl3_audio_mel256_env-v0_4_0.h5.gz", keras_layers(layers))
    torch_file = folder / "torchopenl3_mel256_env_512.pth.tar"
    torch.save(torch_state(layers), torch_file)
    return {"openl3_mel256_env_512": keras, "torchopenl3_mel256_env_512": torch_file}
