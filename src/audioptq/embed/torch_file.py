"""Reads what other people saved with `torch.save`, without running their code, and fills a network with it strictly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from audioptq.errors import DamagedArtifactError
from audioptq.files.foreign_checkpoint import CheckpointError, read_checkpoint

Network = TypeVar("Network", bound=nn.Module)
LISTED = 4  # names of tensors that an error spells out


def read_torch_file(path: str | Path) -> Any:
    """Reads tensors, plain containers, numbers and arrays of NumPy on the CPU; anything else in the pickle is refused.

    Raises:
        DamagedArtifactError: If the file is missing, cut off, or holds code.
    """
    try:
        return read_checkpoint(path)
    except CheckpointError as error:
        raise not_of(path, "a file of tensors", str(error)) from error


def fill_network(network: Network, tensors: Any, path: str | Path, name: str) -> Network:
    """Loads `tensors` into `network` and freezes it; every tensor has to be there, have its shape, and no other may be.

    Raises:
        DamagedArtifactError: If they are not this network's.
    """
    if not isinstance(tensors, Mapping) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise not_of(path, name, "it holds no table of tensors")
    expected = network.state_dict()
    shared = expected.keys() & tensors.keys()
    problems = {
        "missing": expected.keys() - tensors.keys(),
        "not the network's": tensors.keys() - expected.keys(),
        "of another shape": {key for key in shared if tensors[key].shape != expected[key].shape},
    }
    found = [f"{len(keys)} tensors are {what} ({_some(keys)})" for what, keys in problems.items() if keys]
    if found:
        raise not_of(path, name, ", ".join(found))
    network.load_state_dict(dict(tensors))
    return network.eval().requires_grad_(False)


def not_of(path: str | Path, name: str, why: str) -> DamagedArtifactError:
    """The error of a file that is not the weights it should be."""
    return DamagedArtifactError(
        f"{path} is not {name}: {why}. It may be cut off, of another model or of another version: see docs/weights.md for where "
        "it comes from, and replace it."
    )


def _some(names: set[str]) -> str:
    listed = sorted(map(str, names))
    return ", ".join(listed[:LISTED] + (["..."] if len(listed) > LISTED else []))
