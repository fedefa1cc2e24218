"""A quantized model's file, mapped into memory and read tensor by tensor; what is read and given back takes no memory."""

import json
import mmap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors import safe_open

from audioptq import errors
from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import METADATA_KEY
from audioptq.files.checksum import SEAL_KEY, is_sealed
from audioptq.quantize.file.record import check_record

FORMAT_VERSION = 3
GONE_GRANULARITY = "per_concat_group"
NO_SEAL = "it carries no digest of its contents"
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies.

    Attributes:
        dtype: As torch and numpy call it (`float16`).
        shape: Row-major.
        start: First byte, counted from the start of the file.
        nbytes: Length.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


class TensorFile:
    """A safetensors file of `save_quantized`, open for reading; a context manager.

    Attributes:
        path: The file.
        record: The metadata, without the seal.
        entries: Tensors by name.
        header_bytes: Length of what comes before the tensors.

    Raises:
        DamagedArtifactError: If the file is missing, cut off, or no quantized model.
        UserError: If it is of another format version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise UserError(f"{path} is a folder: name the file of weights in it, such as {path}/weights.safetensors.")
        try:
            with safe_open(str(path), framework="np"):
                pass  # checks the header and that the tensors fill the file without gap or overlap
            with self.path.open("rb") as handle:
                length = int.from_bytes(handle.read(8), "little")
                header = json.loads(handle.read(length))
                # Private: tensors may be views of it, and whoever changes one shall not change the file.
                self._map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
            metadata = header.pop("__metadata__", {})
            self.record: dict[str, Any] = dict(json.loads(metadata.get(METADATA_KEY, "{}")))
            self.header_bytes = 8 + length
            self.entries = {name: self._entry(entry) for name, entry in header.items()}
            self._check_version()
        except UserError:
            raise
        except Exception as error:  # whatever a reader trips over
            raise damaged(path, f"it is no whole safetensors file of a quantized model ({error})") from error

    def __enter__(self) -> "TensorFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(BufferError):  # the map goes with the last view of it
            self._map.close()

    def bytes_of(self, name: str) -> np.ndarray:
        """The bytes of a tensor, uint8 `[nbytes]`: a view of the file, which stays mapped as long as there is one."""
        entry = self.entries[name]
        return np.frombuffer(self._map, np.uint8, entry.nbytes, entry.start)

    def release(self, name: str) -> None:
        """Gives back the memory that reading a tensor took; it can be read again."""
        entry = self.entries[name]
        first = entry.start // mmap.PAGESIZE * mmap.PAGESIZE
        if entry.nbytes:
            self._map.madvise(mmap.MADV_DONTNEED, first, entry.start + entry.nbytes - first)

    def verify(self) -> None:
        """Compares every byte with the seal that the file carries, and keeps none.

        Raises:
            DamagedArtifactError: If one was altered.
        """
        try:
            found = is_sealed(self.path)
        except (OSError, ValueError) as error:
            raise damaged(self.path, str(error)) from error
        if not found:
            raise damaged(self.path, NO_SEAL)

    def _entry(self, entry: Mapping[str, Any]) -> Entry:
        first, last = entry["data_offsets"]
        return Entry(DTYPES[entry["dtype"]], tuple(entry["shape"]), self.header_bytes + first, last - first)

    def _check_version(self) -> None:
        seal = self.record.pop(SEAL_KEY, None)
        if self.record.get("format_version") == 2:
            if "concat_channels" in json.dumps(self.record["recipe"]):
                raise UserError(
                    f"{self.path} has format version 2 and weights {GONE_GRANULARITY}, whose parts that version did not record by "
                    f"layer. Quantize the model again: `audioptq quantize MODEL RECIPE --output {self.path}`."
                )
            self.record = upgraded(self.record)
        version = self.record.get("format_version")
        if not isinstance(version, int):
            self._refuse_other_file()
        if version != FORMAT_VERSION:
            raise UserError(
                f"{self.path} has format version {version}, but this version of audioptq reads 2 and {FORMAT_VERSION}. "
                f"Quantize the model again (`audioptq quantize MODEL RECIPE --output {self.path}`), or use the version of "
                "audioptq that wrote the file."
            )
        if seal is None:
            raise damaged(self.path, NO_SEAL)
        try:
            check_record(self.record)
        except (UserError, ValueError) as error:
            raise damaged(self.path, str(error).rstrip(".")) from error

    def _refuse_other_file(self) -> None:
        """Without a version it is one of ours that was altered, or another file, such as weights that nobody shall delete."""
        try:
            is_sealed(self.path)
        except ValueError as error:
            raise damaged(self.path, str(error)) from error
        raise errors.damaged(
            self.path,
            "it is no quantized model of audioptq",
            "Name a file that the workflow or `audioptq quantize` wrote; the latter makes one of a model directory.",
        )


def upgraded(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of format version 2 in today's terms: there was one objective, one family and one kind of layer."""
    rest = {key: value for key, value in record.items() if key != "sigmas"}
    layers = {name: {"kind": "linear", "shape": list(shape)} for name, shape in record["layers"].items()}
    return {
        "family": None,  # when there was one, files did not name it
        **rest,
        "format_version": FORMAT_VERSION,
        "objective": "v" if record.get("sigmas") else None,
        "levels": record.get("sigmas"),
        "layers": layers,
    }


def damaged(path: str | Path, why: str) -> DamagedArtifactError:
    """The error of a file that cannot be used."""
    return errors.damaged(
        path, why, "Delete it and quantize again, if quantizing made it; if you were given it, ask for a whole copy."
    )
