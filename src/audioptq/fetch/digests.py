"""How a downloaded file is known to be the right one: published digests, and those recorded at first use."""

import fcntl
import hashlib
from collections.abc import Iterable
from pathlib import Path

from audioptq.errors import damaged
from audioptq.fetch.disk import unwritable
from audioptq.fetch.weights import CHECKSUMS_FILE
from audioptq.files.artifacts import file_digest, write_text

GIT = "git:"
_HEADER = "file\tsha256\n"
_CHUNK_BYTES = 1 << 20


def git_blob_id(path: str | Path) -> str:
    """The id (40 hex digits) that git gives to a file's contents: SHA-1 of `blob`, their length, a zero byte and they."""
    path = Path(path)
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def mismatch(path: str | Path, expected: Iterable[str]) -> str:
    """Compares a file with digests: whole or first digits of SHA-256, or `git:` and a blob's id; empty ones say nothing.

    Returns:
        An empty string if all fit, else a phrase with both digests.
    """
    expected = [digest for digest in expected if digest]
    found = {False: "", True: ""}
    for digest in expected:
        is_git = digest.startswith(GIT)
        found[is_git] = found[is_git] or (GIT + git_blob_id(path) if is_git else file_digest(path))
        if not found[is_git].startswith(digest):
            return f"its checksum is {found[is_git]}, and {digest} is expected"
    return ""


def is_whole_digest(digest: str) -> bool:
    """Whether a digest settles a file's contents: a git id or all of SHA-256, not its first digits."""
    return digest.startswith(GIT) or len(digest) == 64


def recorded_digest(folder: str | Path, file: str) -> str:
    """SHA-256 of a file as recorded at its first use, or an empty string."""
    return _read(Path(folder) / CHECKSUMS_FILE).get(file, "")


def record_digest(folder: str | Path, file: str, sha256: str) -> None:
    """Records a file's SHA-256 in the folder's `checksums.tsv`; jobs that do so at the same time wait for each other."""
    table = Path(folder) / CHECKSUMS_FILE
    try:
        with table.with_name(f".{CHECKSUMS_FILE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            rows = _read(table) | {file: sha256}
            write_text(table, _HEADER + "".join(f"{name}\t{digest}\n" for name, digest in sorted(rows.items())))
    except OSError as error:
        raise unwritable(table, error) from error


def _read(table: Path) -> dict[str, str]:
    if not table.exists():
        return {}
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    if lines[:1] != [_HEADER.rstrip("\n")] or any(len(row) != 2 or len(row[1]) != 64 for row in rows):
        cure = "Restore it, or delete it: the files beside it are then trusted as they are now."
        raise damaged(table, "it is not a table of checksums as it was written", cure)
    return {file: digest for file, digest in rows}
