"""One save and one load per kind of file: whole or absent, with how it was made and a seal inside.

What is written here carries a seal (`audioptq.files.checksum`), and what is read here must carry it unbroken. Files that others
wrote, and those that ship with the repository, have none: who reads such a file says `foreign=True`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from audioptq.errors import DamagedArtifactError
from audioptq.files.atomic import atomic_path
from audioptq.files.checksum import SEAL_KEY, close_seal, is_sealed, open_seal

METADATA_KEY = "audioptq"


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, record: Mapping[str, Any], sealed: bool = True) -> None:
    """Writes a small record as indented JSON; NaN and infinity are refused, since JSON has no word for them.

    Args:
        path: The file to write.
        record: What to write.
        sealed: False for files that other programs read, which a further key would disturb.
    """
    place = open_seal(_encode(record))
    content = {**record, SEAL_KEY: place} if sealed else record
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        temporary.write_text(text, encoding="utf-8")
        if sealed:
            close_seal(temporary, place)


def read_json(path: str | Path, foreign: bool = False) -> Any:
    """Reads a JSON record.

    Raises:
        DamagedArtifactError: If the file is missing, altered, or is not JSON.
    """
    _check_seal(path, foreign)
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return _without_seal(record) if isinstance(record, dict) else record


def write_parquet(path: str | Path, frame: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
    """Writes a table with its metadata in the file itself."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    encoded, place = _unsealed(metadata)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **encoded})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
        close_seal(temporary, place)


def read_parquet(path: str | Path, columns: Sequence[str] = ()) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Reads a table and its metadata; `columns` are the ones the caller relies on.

    Raises:
        DamagedArtifactError: If the file is missing, truncated, altered, or lacks one of `columns`.
    """
    _check_seal(path)
    try:
        table = pq.read_table(path)
        frame = table.to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise _damaged(path, f"the columns {', '.join(missing)} are absent (it has {', '.join(map(str, frame))})")
    return frame, _without_seal(json.loads(table.schema.metadata[METADATA_KEY.encode()]))


def write_tensors(path: str | Path, tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Writes torch or numpy tensors as safetensors with metadata.

    Raises:
        ValueError: If `tensors` is empty.
    """
    if not tensors:
        raise ValueError("no tensors to write")
    encoded, place = _unsealed(metadata)
    with atomic_path(path) as temporary:
        if type(next(iter(tensors.values()))).__module__.startswith("torch"):
            from safetensors.torch import save_file as save_torch

            save_torch(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, encoded
            )
        else:
            from safetensors.numpy import save_file as save_numpy

            save_numpy(dict(tensors), temporary, encoded)
        close_seal(temporary, place)


def read_tensors(
    path: str | Path, framework: str = "pt", foreign: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads every tensor and the metadata; `framework` is `"pt"` (torch) or `"np"` (numpy, without importing torch).

    Raises:
        DamagedArtifactError: If the file is missing, altered, or is not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    _check_seal(path, foreign)
    try:
        with safe_open(str(path), framework=framework) as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(path, error) from error
    return tensors, _without_seal(json.loads(metadata.get(METADATA_KEY, "{}")))


def read_tensor_metadata(path: str | Path) -> dict[str, Any]:
    """Reads the metadata of a safetensors file and none of its tensors; the seal, which is over all, is not checked."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as handle:
            return _without_seal(json.loads((handle.metadata() or {}).get(METADATA_KEY, "{}")))
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


def _unsealed(metadata: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """Metadata as files hold it, with the place for the seal; and that place."""
    place = open_seal(_encode(metadata))
    return {METADATA_KEY: _encode({**metadata, SEAL_KEY: place})}, place


def _without_seal(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != SEAL_KEY}


def _check_seal(path: str | Path, foreign: bool = False) -> None:
    try:
        sealed = is_sealed(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not (sealed or foreign):
        raise _damaged(path, "it carries no digest of its contents, as what this version of audioptq writes does")


def _damaged(path: str | Path, why: object) -> DamagedArtifactError:
    return DamagedArtifactError(
        f"{path} cannot be read: {why}. If the workflow made this file, delete it and run snakemake again: "
        "only what depends on it is rebuilt. If you supplied it, replace it with a whole copy."
    )
