"""Training checkpoints of other people, optimizer and all: read for their weights without running what is pickled in them."""

import pickle
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import torch

from audioptq.embed.torch_file import not_of

# Everything a pickle of tensors, plain containers and numpy numbers (a learning rate in an optimizer's state) may name.
ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class TensorUnpickler(pickle.Unpickler):
    """Builds tensors, plain containers and numbers; any other global in the pickle is an error, and nothing of it runs.

    What `torch.load(weights_only=True)` does as well, but that reads pickle protocol 2 alone, and LAION's checkpoints are
    reported to be of protocol 4 (Audio-AGI/AudioSep, pull request 51).
    """

    def find_class(self, module: str, name: str) -> Any:
        """The named global, if it is one of `ALLOWED`."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is neither a tensor nor a number")
        return super().find_class(module, name)


class TensorPickle:
    """What `torch.load` asks of a pickle module."""

    Unpickler: ClassVar[type[pickle.Unpickler]] = TensorUnpickler


def read_checkpoint(path: Path) -> Any:
    """Reads what `torch.save` wrote; tensors stay on disk until they are used.

    Raises:
        DamagedArtifactError: If the file is missing or damaged, or holds anything but tensors, containers and numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ValueError("it is a program of TorchScript")
        return torch.load(path, map_location="cpu", mmap=True, weights_only=False, pickle_module=TensorPickle)
    except Exception as error:  # torch passes on whatever its parsers stumble over in a damaged file
        raise not_of(path, "a checkpoint", str(error).split("\n")[0] or type(error).__name__) from error
