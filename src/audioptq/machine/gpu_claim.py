"""A GPU for each process: jobs that run side by side on one machine never meet on the same one."""

import fcntl
import os
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 1.0


def visible_gpus(count: int) -> tuple[str, ...]:
    """Names of the `count` GPUs that this process sees, the same in every process of this machine that sees them.

    CUDA counts from 0 what `CUDA_VISIBLE_DEVICES` leaves visible; inside an allocation of Slurm those counts may mean other GPUs
    than outside, so they carry its number.
    """
    listed = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    names = listed if len(listed) >= count else [str(index) for index in range(count)]
    allocation = os.environ.get("SLURM_JOB_ID")
    return tuple(f"slurm{allocation}-{name}" if allocation else name for name in names[:count])


@cache
def claim_gpu(names: Sequence[str], folder: str | None = None) -> int:
    """Index of the GPU of `names` that is this process's own from now on; waits while every one is another's.

    A claim is a lock of the kernel (flock) on a file of the GPU's name. It ends with the process, however that ends: one that was
    killed leaves a file behind, and no lock. Asked again, the process gets the GPU it has.

    Args:
        names: GPUs, each by a name that other processes use as well.
        folder: Where the files are: on this machine, not on a shared disk; a folder of the user's in /tmp if None.
    """
    place = Path(folder or f"/tmp/audioptq-gpus-{os.getuid()}")
    place.mkdir(exist_ok=True, mode=0o700)
    # Files are open as long as the process lives: Python closes none that it is not told to.
    files = [os.open(place / f"{name.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT, 0o600) for name in names]
    has_said_so = False
    while True:
        for index, file in enumerate(files):
            if _is_locked_for_us(file):
                for other in files[:index] + files[index + 1 :]:
                    os.close(other)
                return index
        if not has_said_so:
            print(f"every GPU ({', '.join(names)}) is in use: waiting for one", file=sys.stderr, flush=True)
            has_said_so = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _is_locked_for_us(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
