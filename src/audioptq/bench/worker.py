"""The worker: a process that loads one model in one form, and steps when it is told to (`python -m audioptq.bench.worker FD`).

It reads pickled requests from a connection until that is closed, and answers each.
"""

import pickle
import sys
import time
import traceback
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from audioptq.bench.plan import BASELINE, GENERATION, BenchModel, Case, Form
from audioptq.bench.process import FormError
from audioptq.console import end_with_driver
from audioptq.errors import UserError


class Session:
    """A method for each request; what they share is the loaded model with its inputs."""

    def __init__(self) -> None:
        self.stepper: Any = None

    def machine(self) -> dict[str, Any]:
        """What the machine is, and what it does at best."""
        from audioptq.bench.machine import describe_machine, measure_ceilings
        from audioptq.machine.device import best_device

        device = best_device()
        return {"device": device, "machine": describe_machine(device), "ceilings": measure_ceilings(device)}

    def prepare(self, model: BenchModel, cases: list[Case], sampler: dict[str, Any], seed: int) -> dict[str, Any]:
        """What is found once: neither text encoders nor counting are in the memory of the processes that are measured.

        Returns:
            `conditionings` by batch, `counts` of `count_operations` by case, and `clip_latents`, frames of a whole clip.
        """
        from audioptq.bench.forms import build_form
        from audioptq.bench.operations import count_operations
        from audioptq.bench.steps import Stepper, conditionings
        from audioptq.sampling.sampler import SamplerSettings

        built, _ = build_form(model, Form(BASELINE, "float"), None)
        built.require_text_encoder()
        found = conditionings(built, [case.batch for case in cases])
        stepper = Stepper(built, SamplerSettings(**sampler), found, seed)
        counts = {case: count_operations(built, partial(stepper.step, case)) for case in cases}
        return {"conditionings": found, "counts": counts, "clip_latents": built.latent_shape[-1]}

    def quantize(self, **request: Any) -> dict[str, Any]:
        """Makes a recipe's file, unless it is there."""
        from audioptq.bench.quantized import make_quantized

        return make_quantized(**request)

    def load(
        self, model: BenchModel, form: Form, weights: str | None, conditionings: Any, sampler: dict[str, Any], seed: int
    ) -> dict[str, Any]:
        """Builds the model in its form."""
        from audioptq.bench.forms import build_form
        from audioptq.bench.steps import Stepper
        from audioptq.sampling.sampler import SamplerSettings

        started = time.perf_counter()
        built, facts = build_form(model, form, weights)
        self.stepper = Stepper(built, SamplerSettings(**sampler), conditionings, seed)
        return {"load_seconds": time.perf_counter() - started, **facts}

    def run(self, case: Case) -> float:
        """Seconds of one step or generation."""
        seconds: float = self.stepper.generate() if case.what == GENERATION else self.stepper.step(case)
        return seconds

    def profile(self, case: Case) -> dict[str, float]:
        """Seconds of a step by kind."""
        from audioptq.bench.step_profile import profile_step

        return profile_step(self.stepper.model, partial(self.stepper.step, case))

    def peak(self) -> int | None:
        """The largest memory so far."""
        from audioptq.bench.machine import peak_bytes

        return peak_bytes(self.stepper.model.device)


def main() -> None:
    """Serves the parent; what a request cannot do is its answer."""
    end_with_driver()
    session, pipe = Session(), Connection(int(sys.argv[1]))
    while True:
        try:
            task, request = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            answer = getattr(session, task)(**request)
        except UserError as error:
            answer = FormError(str(error))
        except Exception as error:  # of foreign code too: a compiler, a kernel, an allocator
            traceback.print_exc()
            said = (str(error).strip().splitlines() or [""])[0]
            answer = FormError(f"{type(error).__name__}: {said}")
        pipe.send_bytes(pickle.dumps(answer))


if __name__ == "__main__":
    main()
