"""Jobs without their start: one process of a run imports what the jobs import, and each job is forked from it.

Snakemake starts a Python for every job, which spends two or three seconds on importing torch. Its commands are prefixed by
`client`, which hands the job to the `server` of its driver and takes its place for Snakemake: signals, streams, status. Without a
server the client becomes the process that there would be without it. A job that a client or the server leaves behind is killed.
"""

import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

CLIENT = Path(__file__).with_name("client.py")
SERVER = f"{__name__}.server"
# What Snakemake puts before a script's first line imports these.
SNAKEMAKE_MODULES = ("snakemake.iocontainers", "snakemake.logging", "snakemake.script")


def can_fork() -> bool:
    """Whether this system can: Linux, which ends a process with its parent and names sockets without files."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # another system, or a kernel before 5.3
        return False
    return sys.platform == "linux"


def new_address() -> str:
    """A name for the server of this process that no other run has."""
    return f"audioptq-{os.getpid()}-{secrets.token_hex(8)}"


def prefix(address: str) -> str:
    """What a job's command is prefixed by, in bash: `prefix + "python script.py"`.

    Args:
        address: Of the server: a name that no other run has.
    """
    return f"exec {shlex.quote(sys.executable)} -IS {shlex.quote(str(CLIENT))} {shlex.quote(address)} "


def start(address: str, imports: Iterable[str]) -> "subprocess.Popen[bytes]":
    """Starts the server, which ends with this process; call it from the main thread, whose end is the process's.

    It answers as soon as it has imported everything; jobs that start before do so on their own.

    Args:
        address: Name of its socket.
        imports: Modules, and paths of scripts, which do nothing unless they are `__main__`.
    """
    # Forked, BLAS keeps the number of threads that it was loaded with. Jobs set torch's; the rest of their work takes one.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
    command = [sys.executable, "-P", "-m", SERVER, address, str(os.getpid()), *imports]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=os.environ | threads)
