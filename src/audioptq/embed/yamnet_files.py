"""Reads YAMNet's weights as they are published: an ONNX graph of 8-bit rounding, or Keras' HDF5 in float."""

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audioptq.embed.keras_file import read_keras_layers
from audioptq.embed.torch_file import not_of
from audioptq.embed.yamnet_network import SamePadded, YamnetNetwork
from audioptq.errors import UserError

GRAPH = "YAMNet's graph (YamNet_w8a8.onnx.zip)"
KERAS = "YAMNet's weights (yamnet.h5)"
ROUNDING = ("QuantizeLinear", "DequantizeLinear")
BATCH_NORM_EPSILON = 1e-4
LARGEST_BYTES = 2**26  # of a file in the archive; the weights have 15 MB


def read_onnx_graph(path: str | Path) -> dict[str, Tensor]:
    """Reads the graph's weights under the names of `YamnetNetwork`, with all rounding of activations left out.

    The initialisers are float32 that the 8-bit rounding leaves as they are, so that nothing is lost by leaving that out too.
    The graph is data here: its operations are compared with the network's, one by one, and not run.

    Args:
        path: An archive with one `.onnx` file and the file of its external tensors beside it.

    Raises:
        UserError: If the package onnx is not installed.
        DamagedArtifactError: If the file is damaged or holds another graph.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise UserError(
            f"YAMNet's 8-bit weights need the package onnx ({error}). Install the packages of requirements.txt, or choose the "
            "other variant: `evaluators: {yamnet: {variant: keras}}` in the config."
        ) from error
    try:
        with zipfile.ZipFile(io.BytesIO(Path(path).read_bytes())) as archive:
            name = next((name for name in archive.namelist() if name.endswith(".onnx")), None)
            if name is None:
                raise ValueError("no file in it ends with .onnx")
            graph = onnx.ModelProto.FromString(_member(archive, name)).graph
            contents = {
                place: _member(archive, place) for place in {_place(onnx, t, name) for t in graph.initializer} - {""}
            }
            arrays = {tensor.name: _array(onnx, tensor, contents, name) for tensor in graph.initializer}
        return dict(_weights(graph, arrays))
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile, NotImplementedError, DecodeError) as error:
        raise not_of(path, GRAPH, str(error) or type(error).__name__) from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > LARGEST_BYTES:
        raise ValueError(f"{name} has {archive.getinfo(name).file_size} bytes")
    return archive.read(name)


def _place(onnx: Any, tensor: Any, graph_name: str) -> str:
    """Name in the archive of the file with an initialiser's bytes; empty where they lie in the graph."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return ""
    location = next(entry.value for entry in tensor.external_data if entry.key == "location")
    return str(PurePosixPath(graph_name).parent / location)


def _array(onnx: Any, tensor: Any, contents: Mapping[str, bytes], graph_name: str) -> NDArray[Any]:
    place = _place(onnx, tensor, graph_name)
    if not place:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    offset = next((int(entry.value) for entry in tensor.external_data if entry.key == "offset"), 0)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    return np.frombuffer(contents[place], dtype, int(np.prod(tensor.dims)), offset).reshape(tensor.dims)


def _weights(graph: Any, arrays: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors, taken in the graph's order; ValueError where it is not the network's."""
    origin: dict[str, str] = {}
    for node in graph.node:  # what rounds comes after what it rounds, in any graph
        if node.op_type in ROUNDING:
            origin[node.output[0]] = origin.get(node.input[0], node.input[0])
    nodes = [node for node in graph.node if node.op_type not in ROUNDING]
    network = YamnetNetwork()
    _check_chain(nodes, graph.input[0].name, origin, len(network.convolutions))
    named = [(f"convolutions.{index}", node) for index, node in enumerate(nodes[:-3:2])]
    for (_, node), convolution in zip(named, network.convolutions, strict=True):
        if _settings(node) != _settings_of(convolution):
            raise ValueError(
                f"{node.name} has the settings {_settings(node)}, the network's {_settings_of(convolution)}"
            )
    for name, node in [*named, ("classifier", nodes[-1])]:
        for kind, key in zip(("weight", "bias"), node.input[1:], strict=True):
            array = arrays[origin.get(key, key)]
            if array.dtype != np.float32:
                raise ValueError(f"{key} is {array.dtype} and not float32")
            yield f"{name}.{kind}", torch.from_numpy(array.copy())


def _check_chain(nodes: Sequence[Any], maps: str, origin: Mapping[str, str], n_convolutions: int) -> None:
    """ValueError unless the operations are the network's, each takes what the one before gives, and the last is a plain product."""
    expected = [*("Conv", "Relu") * n_convolutions, "GlobalAveragePool", "Reshape", "Gemm"]
    if [node.op_type for node in nodes] != expected:
        raise ValueError(f"its operations are not the network's {len(expected)}")
    for node in nodes:
        if origin.get(node.input[0], node.input[0]) != maps:
            raise ValueError(f"{node.name or node.op_type} does not take what the operation before it gives")
        maps = node.output[0]
    product = {attribute.name: attribute.i or attribute.f for attribute in nodes[-1].attribute}
    if product != {"alpha": 1.0, "beta": 1.0, "transB": 1}:
        raise ValueError("its classifier is no plain product")


def _settings(node: Any) -> dict[str, Any]:
    found = {attribute.name: list(attribute.ints) or attribute.i for attribute in node.attribute}
    return {key: found.get(key) for key in ("group", "strides", "pads", "dilations")}


def _settings_of(convolution: nn.Module) -> dict[str, Any]:
    assert isinstance(convolution, nn.Conv2d)
    before, after = convolution.pads if isinstance(convolution, SamePadded) else (0, 0)
    return {
        "group": convolution.groups,
        "strides": list(convolution.stride),
        "pads": [before, before, after, after],
        "dilations": [1, 1],
    }


def read_keras_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads the published `yamnet.h5` under the names of `YamnetNetwork`, each normalisation folded into its convolution.

    Normalisations have no scale (audioset/yamnet/params.py: `batchnorm_scale` is false), and an epsilon of 1e-4:
    `w' = w / sqrt(variance + epsilon)`, `b' = beta - mean / sqrt(variance + epsilon)`, in float64.

    Raises:
        DamagedArtifactError: If the file is damaged or has other layers.
    """
    layers = read_keras_layers(path, KERAS)
    convolutions = list(YamnetNetwork().convolutions)
    kernels = ["depthwise_kernel" if _is_depthwise(convolution) else "kernel" for convolution in convolutions]
    normalisation = {"beta", "moving_mean", "moving_variance"}
    expected = [names for kernel in kernels for names in ({kernel}, normalisation)] + [{"kernel", "bias"}]
    if [set(layer) for layer in layers] != expected:
        raise not_of(
            path, KERAS, f"it has {len(layers)} layers with weights, or others than the network's {len(expected)}"
        )
    tensors: dict[str, Tensor] = {}
    for index, kernel in enumerate(kernels):
        weight, normalised = layers[2 * index][kernel].astype(np.float64), layers[2 * index + 1]
        if weight.ndim != 4 or normalised["beta"].ndim != 1:
            raise not_of(path, KERAS, f"a kernel has {weight.ndim} axes and a normalisation {normalised['beta'].ndim}")
        # Kernels are [height, width, in, out], depthwise ones [height, width, channels, 1].
        turned = weight.transpose(2, 3, 0, 1) if kernel == "depthwise_kernel" else weight.transpose(3, 2, 0, 1)
        scale = 1 / np.sqrt(normalised["moving_variance"].astype(np.float64) + BATCH_NORM_EPSILON)
        if len(scale) != len(turned):
            raise not_of(
                path, KERAS, f"a kernel of {len(turned)} channels is followed by {len(scale)} of a normalisation"
            )
        bias = normalised["beta"] - normalised["moving_mean"] * scale
        tensors[f"convolutions.{index}.weight"] = torch.from_numpy(turned * scale[:, None, None, None]).float()
        tensors[f"convolutions.{index}.bias"] = torch.from_numpy(bias).float()
    tensors["classifier.weight"] = torch.from_numpy(layers[-1]["kernel"].T.copy()).float()
    tensors["classifier.bias"] = torch.from_numpy(layers[-1]["bias"]).float()
    return tensors


def _is_depthwise(convolution: nn.Module) -> bool:
    return isinstance(convolution, nn.Conv2d) and convolution.groups > 1
