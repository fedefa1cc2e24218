"""The process that jobs are forked from: `python -m audioptq.runs.forkserver.server ADDRESS DRIVER IMPORT...`.

It imports, waits for clients, and does nothing else. A process may be forked only while it has no other threads and has not
touched a GPU; a server for which that does not hold says so, and jobs start on their own. The kernel ends it with its driver, and
its jobs with it.
"""

import atexit
import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from audioptq.runs.forkserver.client import FORKED

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
SECONDS_TO_ASK = 10.0
# Of pyarrow's allocator, which takes it down and up again around a fork.
HARMLESS_THREADS = {"jemalloc_bg_thd"}
GPUS = ("/dev/nvidia", "/dev/kfd")


@dataclass(frozen=True)
class Process:
    """A forked process: its number, and a descriptor that is ready when it has ended."""

    pid: int
    ended: int


@dataclass(frozen=True)
class Job:
    """What a client wants: a script with its arguments, its folder, environment and streams; and the server that forks it."""

    command: Sequence[str]
    folder: str
    environment: Mapping[str, str]
    streams: Sequence[int]
    server: int

    def run(self, set_by_imports: Mapping[str, str], on_interrupt: Any) -> None:
        """Makes this process the job's, whose imports set variables of the environment in the server."""
        _end_with(self.server)
        signal.signal(signal.SIGINT, on_interrupt)
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update({**self.environment, **set_by_imports})
        os.chdir(self.folder)
        script, sys.argv = Path(self.command[0]), list(self.command)
        Path("/proc/self/comm").write_text(script.stem.rpartition(".")[2])  # what `top` shows
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")


def main(address: str, driver: int, imports: Sequence[str]) -> None:
    """Imports, then forks jobs until the driver ends."""
    _end_with(driver)
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver and the jobs
    gc.disable()  # as in `audioptq.runs.job`
    before = dict(os.environ)
    for name in imports:
        with suppress(Exception):  # the job that needs it will say what is wrong
            runpy.run_path(name, run_name="imported") if name.endswith(".py") else import_module(name)
    gc.freeze()
    obstacle = why_not_fork()
    if obstacle is not None:
        print(f"jobs are not forked, and start on their own: {obstacle}", file=sys.stderr, flush=True)
        return
    sys.stdout.flush()  # what imports have printed is theirs, and no job's
    sys.stderr.flush()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{address}")
        listener.listen(64)
        job = serve(listener)
    # In its own process. One that fails leaves through Python's usual end.
    job.run({name: value for name, value in os.environ.items() if before.get(name) != value}, on_interrupt)
    _end()


def why_not_fork(gpus: tuple[str, ...] = GPUS) -> str | None:
    """What forbids to fork this process; None if nothing does. `gpus`: how the paths of GPUs begin."""
    tasks = set(os.listdir("/proc/self/task")) - {str(os.getpid())}
    threads = {Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in tasks} - HARMLESS_THREADS
    if threads:
        return f"what they import has started threads ({', '.join(sorted(threads))})"
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if str(file.readlink()).startswith(gpus):
                return "what they import has opened a GPU"
    return None


def serve(listener: socket.socket) -> Job:
    """Forks a job for every client, tells it how the job ended, and kills jobs whose client is gone.

    Returns:
        Never in this process; in a forked one, its job.
    """
    jobs: dict[socket.socket, Process] = {}
    while True:
        ready = wait([listener, *jobs, *(process.ended for process in jobs.values())])
        # Before new ones: a job that Snakemake starts again meets nothing of the first.
        for client, process in list(jobs.items()):
            if client in ready:
                os.kill(process.pid, signal.SIGKILL)
            if client in ready or process.ended in ready:
                _, status = os.waitpid(process.pid, 0)
                with suppress(OSError):
                    client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                os.close(process.ended)
                client.close()
                del jobs[client]
        if listener in ready:
            client, _ = listener.accept()
            try:
                job = _ask(client)
                forked = _fork(job)
            except (
                OSError,
                ValueError,
            ):  # another user's, killed before it had said what it wants, or no room for more
                client.close()
                continue
            if forked is None:
                for other in (*jobs, client):
                    other.close()
                for sibling in jobs.values():
                    os.close(sibling.ended)
                return job
            jobs[client] = forked
            with suppress(OSError):
                client.sendall(FORKED)


def _fork(job: Job) -> Process | None:
    """A process of the job's own; None in that process.

    Raises:
        OSError: If there can be no more processes or files.
    """
    try:
        pid = os.fork()
        if pid == 0:
            return None
        try:
            return Process(pid, os.pidfd_open(pid))
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
    finally:
        if os.getpid() == job.server:
            for stream in job.streams:
                os.close(stream)


def _ask(client: socket.socket) -> Job:
    """What a client wants to be run.

    Raises:
        ValueError: If it is another user's, or hangs up.
    """
    client.settimeout(SECONDS_TO_ASK)
    _, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid != os.getuid():
        raise ValueError(f"user {uid} asks")
    head, streams, _, _ = socket.recv_fds(client, 4, 3)
    try:
        (length,) = struct.unpack("!I", head) if len(head) == 4 else (0,)
        content = bytearray()
        while len(content) < length and (more := client.recv(length - len(content))):
            content += more
        return Job(**json.loads(content), streams=streams, server=os.getpid())
    except (OSError, ValueError):
        for stream in streams:
            os.close(stream)
        raise


def _end_with(parent: int) -> None:
    """Has the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _end() -> None:
    """What Python does at its end, but for taking all modules apart, which would copy the memory that they share with the server.

    Multiprocessing's processes end in this way.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
