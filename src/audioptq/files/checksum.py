"""A seal is the SHA-256 of a file within that file: whatever is altered afterwards shows, be it one bit anywhere in it."""

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

SEAL_KEY = "seal"
_MARK = b"audioptq-sha256:"
_DIGITS = 64
_SEAL = re.compile(_MARK + rb"([0-9a-f]{64})")
_BLOCK_BYTES = 1 << 20


def open_seal(content: str) -> str:
    """A place for a seal, to be put into a file whose metadata are `content`: no caption passes for it by chance."""
    return (_MARK + hashlib.sha256(content.encode()).hexdigest().encode()).decode()


def close_seal(path: str | Path, place: str) -> None:
    """Replaces the `open_seal` that a finished file holds by the SHA-256 of the file with zeros for the digits of all seals.

    Raises:
        ValueError: If the file does not hold `place`.
    """
    with Path(path).open("r+b") as handle:
        seals, sha256 = _read(handle)
        starts = [start for digits, start in seals if _MARK + digits == place.encode()]
        if not starts:
            raise ValueError(f"{path} has no place for a seal")
        handle.seek(starts[0])
        handle.write(sha256)


def is_sealed(path: str | Path) -> bool:
    """Whether a file carries a seal, and has not been altered since; false for files that were never sealed.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is not what was sealed.
    """
    with Path(path).open("rb") as handle:
        seals, sha256 = _read(handle)
    # A caption may look like a seal; only the true one has the right digits.
    if seals and all(digits != sha256 for digits, _ in seals):
        raise ValueError("its contents do not match the digest that it carries")
    return bool(seals)


def _read(handle: BinaryIO) -> tuple[list[tuple[bytes, int]], bytes]:
    """Digits of all seals and where they start, and the SHA-256 (hex) of the file with zeros in their places."""
    sha, seals, passed, held = hashlib.sha256(), [], 0, b""
    while block := handle.read(_BLOCK_BYTES):
        held += block
        ready = 0
        for seal in _SEAL.finditer(held) if _MARK in held else ():
            sha.update(held[ready : seal.start(1)] + b"0" * _DIGITS)
            seals.append((seal[1], passed + seal.start(1)))
            ready = seal.end()
        # A seal that the end of a block cuts in two is found with the next.
        kept = max(ready, len(held) - len(_MARK) - _DIGITS + 1)
        sha.update(held[ready:kept])
        passed, held = passed + kept, held[kept:]
    sha.update(held)
    return seals, sha.hexdigest().encode()
