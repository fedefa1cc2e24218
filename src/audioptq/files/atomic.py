"""Files that are written whole or not at all, and what the system says when it refuses."""

import errno
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audioptq.errors import UserError

_HOST = socket.gethostname().partition(".")[0]
_LEFTOVER = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<pid>[0-9]+)\.tmp")
# Nobody can tell from here whether a process of another machine lives; none writes a single file for that long.
_DAYS_OF_OTHERS = 1.0
_swept: set[Path] = set()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; on success it is flushed to disk and renamed, on failure removed.

    A file that exists under its final name is therefore whole. What a killed process left under temporary names is removed
    by the next one that writes into the folder.

    Raises:
        UserError: If the folder is not writable or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
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


def _remove_leftovers(folder: Path) -> None:
    """Removes temporary files whose process was killed; each process looks once into each folder."""
    folder = folder.resolve()
    if folder in _swept:
        return
    _swept.add(folder)
    for name in os.listdir(folder):
        found = _LEFTOVER.fullmatch(name)
        if found:
            with suppress(OSError):
                if _is_left(folder / name, found["host"], int(found["pid"])):
                    (folder / name).unlink()


def _is_left(path: Path, host: str, pid: int) -> bool:
    if host != _HOST:
        return time.time() - path.stat().st_mtime > _DAYS_OF_OTHERS * 86400
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, and is another user's
        return False
    return False
