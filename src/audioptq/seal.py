"""A seal is the SHA-256 of a file within that file: whatever is altered afterwards shows, be it one bit anywhere in it."""

import hashlib
from pathlib import Path
from typing import BinaryIO

SEAL_KEY = "seal"
_MARK = b"audioptq-sha256:"
_DIGITS = 64
_OPEN = b"0" * _DIGITS
OPEN_SEAL = (_MARK + _OPEN).decode()
_BLOCK_BYTES = 1 << 20


def close_seal(path: str | Path) -> None:
    """Replaces the `OPEN_SEAL` that a finished file holds by the SHA-256 of the file with it.

    Raises:
        ValueError: If the file holds no `OPEN_SEAL`.
    """
    with Path(path).open("r+b") as handle:
        found, start, sha256 = _read(handle)
        if found != _OPEN:
            raise ValueError(f"{path} has no place for a seal")
        handle.seek(start)
        handle.write(sha256)


def is_sealed(path: str | Path) -> bool:
    """Whether a file carries a seal, and has not been altered since; false for files that were never sealed.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is not what was sealed.
    """
    with Path(path).open("rb") as handle:
        found, _, sha256 = _read(handle)
    if found is not None and found != sha256:
        raise ValueError("its contents do not match the digest that it carries")
    return found is not None


def _read(handle: BinaryIO) -> tuple[bytes | None, int, bytes]:
    """The digits of the first seal, where they start, and the SHA-256 (hex) of the file with zeros in their place."""
    sha, found, start, passed, held = hashlib.sha256(), None, 0, 0, b""
    while block := handle.read(_BLOCK_BYTES):
        held += block
        if found is None:
            mark = held.find(_MARK)
            first, last = mark + len(_MARK), mark + len(_MARK) + _DIGITS
            if mark >= 0 and last <= len(held):
                found, start = held[first:last], passed + first
                held = held[:first] + _OPEN + held[last:]
        # A seal that the end of a block cuts in two is found with the next.
        ready = len(held) if found is not None else max(0, len(held) - len(OPEN_SEAL))
        sha.update(held[:ready])
        passed, held = passed + ready, held[ready:]
    sha.update(held)
    return found, start, sha.hexdigest().encode()
