"""YAMNet's float weights as Keras' `save_weights` lays them out in yamnet.h5; random, of the published shapes."""

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

# Output channels and strides of audioset/yamnet/yamnet.py's _YAMNET_LAYER_DEFS.
CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
Layers = list[tuple[str, dict[str, np.ndarray]]]


def layers() -> Layers:
    """Keras' layers by name, with the ones that have no weights in between."""
    rng = np.random.default_rng(5)

    def normalisation(n: int) -> dict[str, np.ndarray]:
        moments = {"moving_mean": 0.2 * rng.standard_normal(n), "moving_variance": rng.uniform(0.2, 3, n)}
        return {"beta": 0.3 * rng.standard_normal(n), **moments}

    def convolution(name: str, key: str, shape: tuple[int, ...]) -> Layers:
        n = shape[2] if key == "depthwise_kernel" else shape[3]
        kernel = rng.standard_normal(shape) * np.sqrt(2 * n / np.prod(shape))
        return [(name, {key: kernel}), (f"{name}/bn", normalisation(n)), (f"{name.removesuffix('/conv')}/relu", {})]

    found: Layers = [("input_1", {}), ("tf_op_layer_stft", {}), *convolution("layer1/conv", "kernel", (3, 3, 1, 32))]
    for number, (before, after) in enumerate(pairwise(CHANNELS), start=2):
        name = f"layer{number}"
        found += convolution(f"{name}/depthwise_conv", "depthwise_kernel", (3, 3, before, 1))
        found += convolution(f"{name}/pointwise_conv", "kernel", (1, 1, before, after))
    classifier = {"kernel": rng.standard_normal((1024, 521)) / 32, "bias": rng.standard_normal(521)}
    found += [("global_average_pooling2d", {}), ("dense", classifier), ("activation", {})]
    return [(name, {key: array.astype(np.float32) for key, array in arrays.items()}) for name, arrays in found]


def write_keras(path: Path, named: Layers) -> Path:
    """Writes `path` as Keras does: names with slashes are groups within groups."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name, _ in named]
        for name, arrays in named:
            group = file.require_group(name)
            group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in arrays]
            for key, array in arrays.items():
                group.create_dataset(f"{name}/{key}:0", data=array)
    return path


def write_classes(path: Path) -> Path:
    """A table of 521 classes, some with commas in their names."""
    rows = [f'{number},/m/{number:05d},"Sound {number}, of a kind"' for number in range(521)]
    path.write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    return path


def write(folder: Path) -> dict[str, Path]:
    """The weights and the table."""
    classes = write_classes(folder / "yamnet_class_map.csv")
    return {"yamnet_keras": write_keras(folder / "yamnet.h5", layers()), "yamnet_classes": classes}
