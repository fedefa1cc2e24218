"""The files of a model directory: its configuration and its weights, in stable-audio-tools' layout."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.foreign_checkpoint import CheckpointError, ForeignObjectError, read_checkpoint

WEIGHTS = ("model.safetensors", "model.ckpt")  # in the order in which stable-audio-tools looks for them
# A Lightning checkpoint of stable-audio-tools' training: the model, the moving average of its denoiser, and the rest.
TRAINED, AVERAGED, TRAINING_ONLY = "diffusion.", "diffusion_ema.ema_model.", ("diffusion_ema.", "losses.")
LISTED = 3


def read_model_config(directory: str | Path) -> dict[str, Any]:
    """The `model_config.json` of a model directory.

    Raises:
        UserError: If it is missing or is not JSON, or the directory is of diffusers' layout.
    """
    path = Path(directory) / "model_config.json"
    if not path.exists():
        _refuse_diffusers(Path(directory))
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"The model directory {directory} has no readable model_config.json ({error}). Point `models` in the config at "
            "a directory with model_config.json and model.safetensors (or model.ckpt)."
        ) from error


def weights_file(directory: str | Path) -> Path:
    """The file of weights in a model directory: `model.safetensors`, else `model.ckpt`.

    Raises:
        DamagedArtifactError: If there is neither.
    """
    found = [path for name in WEIGHTS if (path := Path(directory) / name).is_file()]
    if not found:
        _refuse_diffusers(Path(directory))
        raise DamagedArtifactError(
            f"The model directory {directory} has neither model.safetensors nor model.ckpt: copy the model's weights there, "
            "or point `models` in the config at the directory that has them."
        )
    return found[0]


def tensor_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the model's tensors, by their names in the network, from the head of a file of weights.

    Raises:
        DamagedArtifactError: If the file cannot be read.
    """
    found = _stored_shapes(path)
    return {name: found[stored] for name, stored in _names_in_file(found).items()}


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Fills `network` with every tensor of a file of weights, each in the network's own dtype.

    What the network held before is let go first, and files are read tensor by tensor: the peak of memory is one model.

    Raises:
        DamagedArtifactError: If the file cannot be read, or its tensors are not exactly the network's.
    """
    own = network.state_dict()
    shapes = _stored_shapes(path)
    names = _names_in_file(shapes)
    found = {name: shapes[stored] for name, stored in names.items()}
    _check_fit(path, found, {name: tuple(tensor.shape) for name, tensor in own.items()})
    dtypes = {name: tensor.dtype for name, tensor in own.items()}
    del own
    for parameter in network.parameters():
        # `empty_like` of the meta device would import sympy.
        parameter.data = torch.empty(parameter.shape, dtype=parameter.dtype, device=parameter.device)
    state: dict[str, Tensor] = {}
    for name, tensor in _read_each(path, names):
        # A copy of its own: aligned as kernels like it, and free of the file, which may change while the model runs.
        state[name] = tensor.to(dtypes[name], copy=True, memory_format=torch.contiguous_format)
    network.load_state_dict(state, assign=True)


def _stored_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    if Path(path).suffix == ".ckpt":
        return {name: tuple(tensor.shape) for name, tensor in _read_checkpoint(path).items()}
    try:
        with safe_open(str(path), framework="np") as handle:
            return {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _names_in_file(stored: Iterable[str]) -> dict[str, str]:
    """Name in the network -> name in the file.

    They are the same, but for a checkpoint of stable-audio-tools' training. There the moving average takes the denoiser's
    place, as in stable-audio-tools' own export; the training's other entries (losses, counters) are left out.
    """
    stored = list(stored)
    if not any(name.startswith(TRAINED) for name in stored):
        return {name: name for name in stored}
    averaged = {f"model.{name.removeprefix(AVERAGED)}": name for name in stored if name.startswith(AVERAGED)}
    others = {name.removeprefix(TRAINED): name for name in stored if not name.startswith(TRAINING_ONLY)}
    return others | averaged


def _read_each(path: str | Path, names: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    if Path(path).suffix == ".ckpt":
        tensors = _read_checkpoint(path)
        yield from ((name, tensors[stored]) for name, stored in names.items())
        return
    for name, stored in names.items():
        # Opened for each: pages of an open file count as this process's memory until it is closed.
        with safe_open(str(path), framework="pt") as handle:
            yield name, handle.get_tensor(stored)


def _read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `torch.save` file, mapped into memory: read only where they are touched."""
    try:
        content = read_checkpoint(path)
    except ForeignObjectError as error:
        raise DamagedArtifactError(
            f"{path} holds pickled Python objects beside tensors ({error}). Reading them could run code, so they are refused. If "
            "you trust the file, convert it in an environment of its own, with torch.load(path, weights_only=False)['state_dict'] "
            "and safetensors.torch.save_file, to a model.safetensors in the same directory."
        ) from error
    except CheckpointError as error:
        raise _unreadable(path, error) from error
    tensors = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise _unreadable(path, "it holds no `state_dict` of tensors")
    return tensors


def _check_fit(path: str | Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    unlike = {
        "lacks": expected.keys() - found.keys(),
        "has beyond it": found.keys() - expected.keys(),
        "has in another shape": {name for name in found.keys() & expected.keys() if found[name] != expected[name]},
    }
    words = [f"{what} {len(names)} ({_some(names)})" for what, names in unlike.items() if names]
    if words:
        raise DamagedArtifactError(
            f"{path} does not fit its configuration, model_config.json beside it: of the {len(expected)} tensors that this "
            f"describes, the file {', '.join(words)}. Take both files from the same version of the model."
        )


def _some(names: set[str]) -> str:
    return ", ".join([*sorted(names)[:LISTED], *(["..."] if len(names) > LISTED else [])])


def _refuse_diffusers(directory: Path) -> None:
    if (directory / "model_index.json").exists():
        raise UserError(
            f"The model directory {directory} is in diffusers' layout (it has a model_index.json): take model_config.json and "
            "model.safetensors of the same repository, which lie beside it, in place of the folders."
        )


def _unreadable(path: str | Path, why: object) -> DamagedArtifactError:
    return DamagedArtifactError(f"The model's weights {path} cannot be read: {why}. Replace the file.")
