"""The worker: a process that loads one model in one form, and steps when it is told to (`python -m audioptq.bench.worker`).

It reads requests, lines of JSON, from its standard input until that is closed, and answers each with a line.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from audioptq.bench.plan import GENERATION, BenchModel, Case, Form
from audioptq.console import end_with_driver
from audioptq.errors import UserError


class Session:
    """What the requests share: the loaded model and its inputs."""

    def __init__(self) -> None:
        self.stepper: Any = None

    def machine(self, threads: int | None) -> dict[str, Any]:
        """What the machine is, and what it does at best."""
        from audioptq.bench.ceilings import measure_ceilings
        from audioptq.bench.machine import describe_machine
        from audioptq.machine.device import best_device

        _set_threads(threads)
        device = best_device()
        return {"device": device, "machine": describe_machine(device), "ceilings": measure_ceilings(device)}

    def quantize(self, model: dict[str, Any], form: dict[str, Any], **request: Any) -> dict[str, Any]:
        """Makes a recipe's file, unless it is there."""
        from audioptq.bench.quantized import make_quantized

        _set_threads(request.pop("threads"))
        return make_quantized(BenchModel(**model), Form(**form), **request)

    def load(
        self,
        model: dict[str, Any],
        form: dict[str, Any],
        sampler: dict[str, Any],
        seed: int,
        threads: int | None,
        weights: str | None,
    ) -> dict[str, Any]:
        """Builds the model in its form."""
        from audioptq.bench.forms import build_form
        from audioptq.bench.stepper import Stepper
        from audioptq.sampling.sampler import SamplerSettings

        _set_threads(threads)
        started = time.perf_counter()
        built = build_form(BenchModel(**model), Form(**form), weights)
        self.stepper = Stepper(built.model, SamplerSettings(**sampler), seed)
        return {"seconds": time.perf_counter() - started, **built.record()}

    def run(self, **case: Any) -> dict[str, Any]:
        """Seconds of one step or generation."""
        asked = Case(**case)
        return {"seconds": self.stepper.generate() if asked.what == GENERATION else self.stepper.step(asked)}

    def operations(self, **case: Any) -> dict[str, Any]:
        """What a step has to compute and move."""
        from audioptq.bench.operations import count_operations

        return count_operations(self.stepper.model, partial(self.stepper.step, Case(**case)))

    def profile(self, **case: Any) -> dict[str, Any]:
        """Seconds of a step by kind."""
        from audioptq.bench.profile import profile_step

        return profile_step(self.stepper.model, partial(self.stepper.step, Case(**case)))

    def facts(self) -> dict[str, Any]:
        """The largest memory so far, and the frames of a whole clip."""
        from audioptq.bench.machine import peak_bytes

        model = self.stepper.model
        return {"peak_bytes": peak_bytes(model.device), "clip_latents": model.latent_shape[1]}


TASKS = ("machine", "quantize", "load", "run", "operations", "profile", "facts")


def serve(requests: Any, reply: Callable[[dict[str, Any]], None]) -> None:
    """Answers every line of `requests`; what a request cannot do is its answer."""
    session = Session()
    for line in requests:
        request = json.loads(line)
        task = request.pop("task")
        try:
            assert task in TASKS, task
            reply(getattr(session, task)(**request))
        except UserError as error:
            reply({"error": str(error), "is_mistake": True})
        except Exception as error:  # of foreign code too: a compiler, a kernel, an allocator
            traceback.print_exc()
            said = (str(error).strip().splitlines() or [""])[0]
            reply({"error": f"{type(error).__name__}: {said}", "is_mistake": False})


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def main() -> None:
    """Serves the parent; what libraries print goes to standard error."""
    end_with_driver()
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    serve(sys.stdin, lambda answer: print(json.dumps(answer), file=channel, flush=True))


if __name__ == "__main__":
    main()
