"""A worker as its parent sees it: a process that is asked one thing at a time, and answers or is given up."""

import os
import pickle
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from typing import Any

from audioptq.console import DRIVER_VARIABLE
from audioptq.machine.device import VARIABLE

MODULE = "audioptq.bench.worker"


class FormError(Exception):
    """A form did not do what it was asked; the text says why. `is_gone`: its worker is too."""

    def __init__(self, reason: str, *, is_gone: bool = False) -> None:
        super().__init__(reason)
        self.is_gone = is_gone


class WorkerProcess:
    """A process of its own: its memory is counted from its start, and what breaks it breaks nothing else.

    Requests and answers are pickled. The process ends when its parent does.

    Args:
        device: Where it computes; None for `best_device`.
        threads: Of its products; None for torch's choice.
    """

    def __init__(self, device: str | None = None, threads: int | None = None) -> None:
        own = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), DRIVER_VARIABLE: str(os.getpid())}
        own |= {VARIABLE: device} if device else {}
        own |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} if threads else {}
        self._errors = tempfile.TemporaryFile()
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdout=self._errors, stderr=self._errors, env=os.environ | own,
            )  # fmt: skip

    def ask(self, task: str, limit: float | None = None, **request: Any) -> Any:
        """The worker's answer.

        Args:
            task: A method of `worker.Session`.
            limit: Seconds to wait for the answer; a worker that takes longer is ended.
            **request: Its arguments.

        Raises:
            FormError: If the worker refuses, fails, ends or takes too long.
        """
        try:
            self._pipe.send_bytes(pickle.dumps((task, request)))
            if not self._pipe.poll(limit):
                self.close()
                raise FormError(f"it took longer than {limit:g} s", is_gone=True)
            answer = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(answer, FormError):
            raise answer
        return answer

    def close(self) -> None:
        """Ends the process, if it has not ended, and waits for it."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        self._errors.close()

    def _ended(self) -> FormError:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        hint = ", as the system does where memory runs out" if code == -9 else ""
        return FormError(f"its process ended {how}{hint}{': ' if said else ''}{''.join(said)}", is_gone=True)
