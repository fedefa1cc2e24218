"""Reads the tensors that other people pickled, by `torch.save` or plainly, and runs nothing of what is pickled with them.

The pickle may name tensors, plain containers, and numbers and arrays of NumPy (a learning rate in an optimizer's state, the sampler
of a training); it is refused at the first other name, before that is imported. `torch.load(weights_only=True)` promises the same, but
reads pickle protocol 2 alone, and LAION's checkpoints are reported to be of protocol 4 (Audio-AGI/AudioSep, pull request 51); it
also hands its reader advice on how to let the code run.
"""

import io
import pickle
import tarfile
from _codecs import encode
from collections import OrderedDict
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import _utils

# NumPy 2 renamed the module that older pickles call `numpy.core.multiarray`.
_RECONSTRUCT, _SCALAR = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
# What a pickle may name. Types of storage are torch's own affair: it makes them itself.
ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    **{("torch._utils", name): getattr(_utils, name) for name in ("_rebuild_tensor_v2", "_rebuild_parameter")},
    **{(module, "_reconstruct"): _RECONSTRUCT for module in _NUMPY},
    **{(module, "scalar"): _SCALAR for module in _NUMPY},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): encode,
}


class CheckpointError(ValueError):
    """Why a file cannot be read, as half a sentence: `it is a program of TorchScript`."""


class ForeignObjectError(CheckpointError):
    """A pickle names something that is neither a tensor nor a number; nothing of that has run."""


def read_checkpoint(source: str | Path | io.BytesIO) -> Any:
    """Reads what `torch.save` wrote, in either of its formats, on the CPU; tensors of the newer one stay on disk until they are used.

    Args:
        source: A file, or the bytes of one.

    Raises:
        ForeignObjectError: If it holds anything but tensors, containers, numbers and arrays.
        CheckpointError: If it is missing or damaged, or is no checkpoint.
    """
    try:
        is_zip = _refuse_programs(source)
        is_mapped = is_zip and not isinstance(source, io.BytesIO)
        return torch.load(source, map_location="cpu", mmap=is_mapped, weights_only=False, pickle_module=_TensorPickle)
    except Exception as error:
        raise _why(error, "a file of torch.save") from error


def read_pickle(path: str | Path) -> Any:
    """Reads a plain pickle of tensors, each of which is a small file of `torch.save` within it.

    Raises:
        ForeignObjectError, CheckpointError: As `read_checkpoint`.
    """
    try:
        return _TensorUnpickler(io.BytesIO(Path(path).read_bytes())).load()
    except Exception as error:
        raise _why(error, "a pickle of tensors") from error


def _refuse_programs(source: str | Path | io.BytesIO) -> bool:
    """Whether a file is of the newer format, an archive; one that torch would run in place of reading it is refused.

    The records are those that torch's own reader finds: an archive may have two tables of contents, and readers differ in
    which they follow.
    """
    with nullcontext(source) if isinstance(source, io.BytesIO) else Path(source).open("rb") as handle:
        if torch.serialization._is_zipfile(handle):
            if "constants.pkl" in torch._C.PyTorchFileReader(handle).get_all_records():
                raise CheckpointError("it is a program of TorchScript, which would run if it were loaded")
            handle.seek(0)
            return True
        try:
            tarfile.open(fileobj=handle, mode="r:").close()
        except tarfile.TarError:
            handle.seek(0)
            return False
        raise CheckpointError("it is a tar archive, as torch wrote them before 2018")


class _TensorUnpickler(pickle.Unpickler):
    """Knows the names of `ALLOWED`, and how a pickled tensor's bytes are read: by `read_checkpoint`, too."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle names, if it may."""
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage_of
        if (module, name) not in ALLOWED and module != "numpy.dtypes":
            raise ForeignObjectError(f"it asks for {module}.{name}, which is neither a tensor nor a number")
        return ALLOWED.get((module, name)) or _dtype_class(name)


def _dtype_class(name: str) -> type:
    found = getattr(np.dtypes, name, None)
    if not (isinstance(found, type) and issubclass(found, np.dtype)):
        raise ForeignObjectError(f"it asks for numpy.dtypes.{name}, which is no type of numbers")
    return found


def _storage_of(content: bytes) -> Any:
    return read_checkpoint(io.BytesIO(content))


class _TensorPickle:
    """What `torch.load` asks of a pickle module."""

    Unpickler: ClassVar[type[pickle.Unpickler]] = _TensorUnpickler
    UnpicklingError = pickle.UnpicklingError

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        return _TensorUnpickler(file, **options).load()


def _why(error: Exception, what: str) -> CheckpointError:
    """The reason as we say it; parsers that stumble over a damaged file raise whatever its next byte happens to mean."""
    if isinstance(error, CheckpointError):
        return error
    if isinstance(error, OSError) and error.strerror:
        return CheckpointError(f"it cannot be opened ({error.strerror})")
    said = str(error).split("\n")[0] or type(error).__name__
    return CheckpointError(f"it is damaged, or not {what} ({said})")
