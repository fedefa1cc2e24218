"""The disturbances: each makes one thing go wrong in a workspace, and checks what can be checked on the spot."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.workspace import Workspace

# A job that was just started looks for its driver after its imports, and before it writes.
SECONDS_TO_DIE = 120.0
LONGEST_DELAY = 4.0
# A forked job has no imports before its work, and is soon over.
LONGEST_MOMENT = 0.5
# Whatever is damaged here makes all that follows run again.
COSTLY = ("prompts", "calibrate")


def worker_killed(space: Workspace, draw: random.Random) -> str:
    driver = space.start()
    is_forked = draw.random() < 0.5  # what was forked, or what Snakemake started for it
    pid = some_forked(space, driver, draw) if is_forked else some_worker(space, driver, draw)
    if pid is not None:
        _kill(pid)
    driver.wait()
    return "the run was over first" if pid is None else "a forked one" if is_forked else ""


def forkserver_killed(space: Workspace, draw: random.Random) -> str:
    driver = space.start()
    pid = some_forked(space, driver, draw)
    n_forked = len(space.forked())
    for server in space.servers():
        _kill(server)
    driver.wait()
    assert space.await_quiet(SECONDS_TO_DIE), "workers outlive their driver"
    if driver.returncode != 0 and not space.damaged:
        assert "the process that starts this run's jobs ended" in space.text(), space.text()[-3000:]
    return "the run was over first" if pid is None else f"with {n_forked} jobs"


def driver_killed(space: Workspace, draw: random.Random) -> str:
    driver = space.start()
    some_worker(space, driver, draw)
    driver.kill()
    driver.wait()
    assert space.await_quiet(SECONDS_TO_DIE), "workers outlive their driver"
    return ""


def interrupted(space: Workspace, draw: random.Random) -> str:
    driver = space.start()
    some_worker(space, driver, draw)
    driver.send_signal(signal.SIGINT)
    driver.wait()
    assert space.await_quiet(SECONDS_TO_DIE), "workers outlive an interrupted driver"
    return ""


def disk_full(space: Workspace, draw: random.Random) -> str:
    space.resize(draw.randrange(200_000))
    status, output = space.finish()
    if status == 0:
        return "there was room enough"
    assert "The disk is full: " in output, output[-3000:]
    assert "Traceback" not in output, output[-3000:]
    space.resize(None)
    return ""


def truncated(space: Workspace, draw: random.Random) -> str:
    return _damage(space, draw, lambda content: content[: draw.randrange(len(content))])


def bits_flipped(space: Workspace, draw: random.Random) -> str:
    def flip(content: bytes) -> bytes:
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        return bytes(damaged) if damaged != content else flip(content)

    return _damage(space, draw, flip)


def unreadable(space: Workspace, draw: random.Random) -> str:
    path = _some_file(space, draw)
    path.chmod(0)
    space.damage(path)
    return str(path.relative_to(space.folder))


def two_drivers(space: Workspace, draw: random.Random) -> str:
    first = space.start()
    if some_worker(space, first, draw) is None:
        return "the run was over first"
    second = space.start("second.log")
    assert second.wait() != 0 or first.poll() is not None, "the second driver was let in"
    if first.poll() is None:
        assert "cannot be locked" in space.text("second.log"), space.text("second.log")[-3000:]
    assert first.wait() == 0 or space.damaged, space.text()[-3000:]
    return ""


DISTURBANCES: dict[str, Callable[[Workspace, random.Random], str]] = {
    "worker killed": worker_killed,
    "driver killed": driver_killed,
    "interrupted": interrupted,
    "disk full": disk_full,
    "truncated": truncated,
    "bits flipped": bits_flipped,
    "unreadable": unreadable,
    "two drivers": two_drivers,
    "fork server killed": forkserver_killed,
}


def some_worker(space: Workspace, driver: "subprocess.Popen[bytes]", draw: random.Random) -> int | None:
    """One of the first workers, some time after its start."""
    pid = space.await_worker(driver, draw.choice([0, 0, 1]))
    if pid is not None:
        time.sleep(draw.uniform(0, LONGEST_DELAY))
    return pid


def some_forked(space: Workspace, driver: "subprocess.Popen[bytes]", draw: random.Random) -> int | None:
    """One of the first jobs that are forked, a moment after its start; None if the run is over before there is one."""
    left = draw.randrange(4)
    seen: set[int] = set()
    while driver.poll() is None:
        for pid in set(space.forked()) - seen:
            seen.add(pid)
            if len(seen) > left:
                time.sleep(draw.uniform(0, LONGEST_MOMENT))
                return pid
        time.sleep(0.01)
    return None


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _some_file(space: Workspace, draw: random.Random) -> Path:
    """A finished artefact; one of the costly ones in one plan of eight."""
    everything = sorted(path for path in space.results.rglob("*") if path.is_file() and path.stat().st_size)
    costly = draw.random() < 1 / 8
    stage = [path for path in everything if (path.relative_to(space.results).parts[0] in COSTLY) == costly]
    return draw.choice([path for path in stage if path.relative_to(space.results).parts[0] not in ("logs", "report")])


def _damage(space: Workspace, draw: random.Random, change: Callable[[bytes], bytes]) -> str:
    path = _some_file(space, draw)
    before = path.stat()
    path.write_bytes(change(path.read_bytes()))
    rots = draw.random() < 0.5  # in silence, with the time it had
    if rots:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    space.damage(path)
    return f"{path.relative_to(space.folder)}{' in silence' if rots else ''}"
