"""One save and one load per kind of file: whole or absent, with how it was made inside."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from audioptq.errors import DamagedArtifactError, UserError

METADATA_KEY = "audioptq"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; on success it is flushed to disk and renamed, on failure removed.

    A file that exists under its final name is therefore whole.

    Raises:
        UserError: If the folder is not writable or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(0o666 & ~_umask())  # safetensors writes files that only their owner can read
        temporary.replace(path)
    except OSError as error:
        raise _explain_os_error(path, error) from error
    except Exception as error:
        # safetensors, libsndfile and torch hide a full disk behind errors of their own.
        hidden = None if isinstance(error, UserError) else _hidden_os_error(error, temporary)
        if hidden is None:
            raise
        raise _explain_os_error(path, hidden) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _hidden_os_error(error: Exception, temporary: Path) -> OSError | None:
    """The system's error behind another library's: its number in the text, else what writing more to the file meets."""
    number = re.search(r"os error (\d+)", str(error))
    if number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    try:
        with temporary.open("ab") as handle:
            handle.write(bytes(1 << 16))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as hidden:
        return hidden
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _explain_os_error(path: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"The disk is full: {path} could not be written and nothing half-written was left. "
            "Free some space, or set `results` in the config to a folder on a larger disk, and run again; "
            "what is finished is kept."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(
            f"No permission to write {path}. Make the folder {path.parent} writable, or set `results` in the config "
            "to a folder of yours, and run again."
        )
    return error


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, record: Any) -> None:
    """Writes a small record as indented JSON; NaN and infinity are refused, since JSON has no word for them."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Reads a JSON record.

    Raises:
        DamagedArtifactError: If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def write_parquet(path: str | Path, frame: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
    """Writes a table with its metadata in the file itself."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    encoded = {METADATA_KEY: _encode(metadata)}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **encoded})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_parquet(path: str | Path, columns: Sequence[str] = ()) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Reads a table and its metadata; `columns` are the ones the caller relies on.

    Raises:
        DamagedArtifactError: If the file is missing, truncated, altered, or lacks one of `columns`.
    """
    try:
        table = pq.read_table(path)
        frame = table.to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise _damaged(path, f"the columns {', '.join(missing)} are absent (it has {', '.join(map(str, frame))})")
    encoded = (table.schema.metadata or {}).get(METADATA_KEY.encode())
    return frame, json.loads(encoded) if encoded else {}


def write_tensors(path: str | Path, tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Writes torch or numpy tensors as safetensors with metadata.

    Raises:
        ValueError: If `tensors` is empty.
    """
    if not tensors:
        raise ValueError("no tensors to write")
    encoded = {METADATA_KEY: _encode(metadata)}
    with atomic_path(path) as temporary:
        if type(next(iter(tensors.values()))).__module__.startswith("torch"):
            from safetensors.torch import save_file as save_torch

            save_torch(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, encoded
            )
        else:
            from safetensors.numpy import save_file as save_numpy

            save_numpy(dict(tensors), temporary, encoded)


def read_tensors(path: str | Path, framework: str = "pt") -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads every tensor and the metadata; `framework` is `"pt"` (torch) or `"np"` (numpy, without importing torch).

    Raises:
        DamagedArtifactError: If the file is missing or is not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework=framework) as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(path, error) from error
    return tensors, json.loads(metadata.get(METADATA_KEY, "{}"))


def read_tensor_metadata(path: str | Path) -> dict[str, Any]:
    """Reads the metadata of a safetensors file and none of its tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as handle:
            return dict(json.loads((handle.metadata() or {}).get(METADATA_KEY, "{}")))
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(path, error) from error


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`: equal values have equal digests on every machine."""
    return hashlib.sha256(_encode(value).encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    try:
        with Path(path).open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(path, error) from error


def _encode(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _damaged(path: str | Path, why: object) -> DamagedArtifactError:
    return DamagedArtifactError(
        f"{path} cannot be read: {why}. If the workflow made this file, delete it and run snakemake again: "
        "only what depends on it is rebuilt. If you supplied it, replace it with a whole copy."
    )
