"""How much memory there is, asked before much of it is taken; and what becomes of memory that was freed."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audioptq.errors import UserError

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
# Parameters of glibc's mallopt, and what they are if nobody sets them.
M_TRIM_THRESHOLD, TRIM_THRESHOLD = -1, 128 * 1024
M_MMAP_MAX, MMAP_MAX = -4, 65536


def available_bytes() -> int | None:
    """Memory that a process may still take: the system's `MemAvailable`, or less where its control group allows less.

    None where neither is told (other systems than Linux).
    """
    found = [_mem_available(), _group_available()]
    return min((value for value in found if value is not None), default=None)


def require_memory(n_bytes: int, work: str, cure: str) -> None:
    """Checks that there is enough memory for some work, before it sets to it.

    Args:
        n_bytes: What it needs beyond what the process has.
        work: What needs it, with its parts; the subject of the message.
        cure: What else the user can do than free memory; a clause.

    Raises:
        UserError: If there is less.
    """
    available = available_bytes()
    if available is not None and n_bytes > available:
        raise UserError(
            f"{work} needs {gigabytes(n_bytes)} of memory, and {gigabytes(available)} are available: close other programs, "
            f"use a machine with more, or {cure}."
        )


def gigabytes(n_bytes: int) -> str:
    """10^9 bytes, or 10^6 where these would be few.

    >>> gigabytes(1_383_242_196), gigabytes(12_098_024)
    ('1.38 GB', '12.1 MB')
    """
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 5e8 else f"{n_bytes / 1e6:.1f} MB"


def _mem_available() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _group_available() -> int | None:
    """Of a control group of version 2, as containers have: its limit less what it holds and cannot drop."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        held = int((CGROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    # Pages of files count as held, and are dropped when memory is asked for.
    cached = int(statistics.get("inactive_file", 0)) + int(statistics.get("active_file", 0))
    return max(int(limit) - held + cached, 0)


def give_back() -> None:
    """Gives the system what was freed: glibc keeps smaller pieces, some 0.1 GB after work on large matrices."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed() -> None:
    """From now on glibc hands out again what was freed, of any size.

    Left to itself it gives large blocks back at once. The system zeroes the pages of those that come next, one by one: 2.2
    million page faults a step at Stable Audio Open's geometry and 1,024 latents (docs/benchmarks.md).
    """
    _set_malloc({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1})


@contextmanager
def freed_is_kept() -> Iterator[None]:
    """`keep_freed` within it; then all that is free goes back to the system."""
    keep_freed()
    try:
        yield
    finally:
        _set_malloc({M_MMAP_MAX: MMAP_MAX, M_TRIM_THRESHOLD: TRIM_THRESHOLD})
        give_back()


def _set_malloc(options: dict[int, int]) -> None:
    with suppress(OSError, AttributeError):  # another C library
        for name, value in options.items():
            ctypes.CDLL(None).mallopt(name, value)
