"""Reads what Keras' `save_weights` wrote: HDF5, possibly gzipped."""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from audioptq.embed.torch_file import not_of


def read_keras_layers(path: str | Path, what: str) -> list[dict[str, NDArray[Any]]]:
    """The arrays of every layer that has any, by their last name (`kernel` of `conv2d_1/kernel:0`).

    Layers come in the file's order, as Keras' own `load_weights` takes them: their numbers differ between versions of Keras.

    Args:
        path: The file.
        what: What it should be, for the error.

    Raises:
        DamagedArtifactError: If the file is damaged or has no table of layers.
    """
    import h5py

    try:
        content = Path(path).read_bytes()
        unpacked = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        with h5py.File(io.BytesIO(unpacked), "r") as file:
            return [layer for layer in _layers(file) if layer]
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zlib.error) as error:
        raise not_of(path, what, str(error)) from error


def _layers(file: Any) -> list[dict[str, Any]]:
    group = file if "layer_names" in file.attrs else file["model_weights"]
    layers = [group[name] for name in group.attrs["layer_names"]]
    return [{_last_name(name): layer[name][()] for name in layer.attrs["weight_names"]} for layer in layers]


def _last_name(name: str | bytes) -> str:
    text = name.decode() if isinstance(name, bytes) else name
    return text.rsplit("/", 1)[-1].split(":")[0]
