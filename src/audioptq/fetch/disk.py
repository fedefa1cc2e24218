"""Whether the disk has room, asked before bytes come and not after."""

import errno
import shutil
from pathlib import Path

from audioptq.errors import UserError


def readable_size(n_bytes: int) -> str:
    """Bytes in decimal units, as disks and hubs count: `4.85 GB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} bytes"


def require_space(folder: str | Path, n_bytes: int, what: str) -> None:
    """Checks that the disk of a folder, which need not exist yet, has room for `n_bytes` more.

    Raises:
        UserError: If it has not; `what` is named as that which needs the room.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if n_bytes > free:
        raise UserError(
            f"Not enough disk for {what}: {readable_size(n_bytes)} are still to be downloaded to {folder}, and its disk has "
            f"{readable_size(free)} free. Free some space, or move the download folder to a larger disk, and run again; "
            "what has already come is kept."
        )


def unwritable(path: Path, error: OSError) -> UserError:
    """The explanation of a write that failed in the middle of a download; what has come stays for the next attempt."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = "the disk is full. Free some space, or move the download folder to a larger disk"
    else:
        why = f"{error.strerror or error}. Make the download folder writable"
    return UserError(f"{path} could not be written: {why}, and run again; the download goes on where it stopped.")
