"""A worker as its parent sees it: a process that is asked one thing at a time, and answers or is given up."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any, Protocol

from audioptq.console import DRIVER_VARIABLE
from audioptq.machine.device import VARIABLE

MODULE = "audioptq.bench.worker"


class FormError(Exception):
    """A form did not do what it was asked; the text says why. `is_gone`: its worker is too. `is_mistake`: the user can mend it."""

    def __init__(self, reason: str, *, is_gone: bool = False, is_mistake: bool = False) -> None:
        super().__init__(reason)
        self.is_gone, self.is_mistake = is_gone, is_mistake


class Worker(Protocol):
    """What `WorkerProcess` is, and what tests put in its place."""

    def ask(self, task: str, limit: float | None = None, **request: Any) -> dict[str, Any]:
        """The answer to a request."""
        ...

    def close(self) -> None:
        """Ends the worker."""
        ...


class WorkerProcess:
    """A process of its own: its memory is counted from its start, and what breaks it breaks nothing else.

    Requests and answers are lines of JSON. The process ends when its parent does.

    Args:
        device: Where it computes; None for `best_device`.
    """

    def __init__(self, device: str | None = None) -> None:
        own = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), DRIVER_VARIABLE: str(os.getpid())}
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | own | ({VARIABLE: device} if device else {}),
        )
        self._buffer = b""

    def ask(self, task: str, limit: float | None = None, **request: Any) -> dict[str, Any]:
        """The worker's answer to a request of `worker.TASKS`.

        Args:
            task: The request.
            limit: Seconds to wait for the answer; a worker that takes longer is ended.
            **request: Its arguments.

        Raises:
            FormError: If the worker refuses, fails, ends or takes too long.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"task": task, **request}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        answer = self._answer(limit)
        if "error" in answer:
            raise FormError(answer["error"], is_mistake=answer["is_mistake"])
        return answer

    def close(self) -> None:
        """Ends the process, if it has not ended, and waits for it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # a request that nobody read
                    continue

    def _answer(self, limit: float | None) -> dict[str, Any]:
        assert self._process.stdout is not None
        end = None if limit is None else time.monotonic() + limit
        while b"\n" not in self._buffer:
            left = None if end is None else max(end - time.monotonic(), 0.0)
            if not select.select([self._process.stdout], [], [], left)[0]:
                self.close()
                raise FormError(f"it took longer than {limit:g} s", is_gone=True)
            received = os.read(self._process.stdout.fileno(), 1 << 16)
            if not received:
                raise self._ended()
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> FormError:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        hint = ", as the system does where memory runs out" if code == -9 else ""
        return FormError(f"its process ended {how}{hint}{': ' if said else ''}{''.join(said)}", is_gone=True)


def as_request(value: Mapping[str, Any] | Any) -> dict[str, Any]:
    """A dataclass as the fields of a request."""
    return dict(vars(value))
