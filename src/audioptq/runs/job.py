"""A job of the workflow from its first import to its end; for scripts alone, which import this before anything else.

Each job is a process of its own and lasts seconds, of which two or three go into importing torch and letting go of it. Python's
collector walks over all that is imported, again and again, and finds nothing to collect: it rests until the job sets to work,
and passes over what is there by then. A quarter of a job's start is saved.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from audioptq.console import job_log

gc.disable()


@contextmanager
def log(path: str | Path, threads: int | None = None) -> Iterator[Callable[[str], None]]:
    """`console.job_log` around a job's work.

    Args:
        path: Of the log.
        threads: Processors that torch may use, for jobs that use it.
    """
    gc.freeze()
    gc.enable()
    try:
        with job_log(path) as line:
            if threads is not None:
                import torch

                torch.set_num_threads(threads)
            yield line
    finally:
        gc.freeze()  # at exit nothing is looked through for garbage
