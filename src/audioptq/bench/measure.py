"""Takes turns: a step of the baseline, a step of a form, and so on, so that whatever the machine does else meets both."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from audioptq.bench.plan import BASELINE, GENERATION, STEP, BenchModel, BenchSettings, Case, Form
from audioptq.bench.process import FormError, WorkerProcess
from audioptq.errors import UserError

GENERATION_ROUNDS = 3
# Steps before the first round: one, and some more where kernels are tuned at first use.
WARM_UPS = {"cpu": 1, "cuda": 3}
Row = dict[str, Any]
Start = Callable[[str | None, int | None], WorkerProcess]


class Turns:
    """The bench of one model: a worker of the baseline that stays, and one of a form after the other.

    At most two models are in memory, and only one process works at a time.

    Args:
        settings: What is measured.
        model: The model.
        device: Where; the workers' own kind of name.
        start: Starts a worker on a device, with so many threads.
        folder: Where quantized files are kept.

    Raises:
        UserError: If the full-precision model cannot run.
    """

    def __init__(self, settings: BenchSettings, model: BenchModel, device: str, start: Start, folder: str) -> None:
        self.settings, self.model, self.device, self.folder, self._start = settings, model, device, folder, start
        self.cases = settings.cases()
        self._baseline: WorkerProcess | None = None
        try:
            self._shared = {"sampler": settings.sampler, "seed": settings.seed}
            prepared = self._once("prepare", model=model, cases=self.cases, **self._shared)
            self._conditionings, self.counts = prepared["conditionings"], prepared["counts"]
            self._baseline = start(device, settings.threads)
            self._facts = self._load(self._baseline, Form(BASELINE, "float"), None)
        except FormError as error:
            self.close()
            raise UserError(
                f"The bench of {model.name} ({model.folder}) cannot begin, since its full-precision form, with which all others "
                f"are compared, does not run: {error}. Mend that, or leave the model out."
            ) from error
        if settings.generations or (settings.generations is None and device.startswith("cuda")):
            self.cases.append(Case(prepared["clip_latents"], 1, GENERATION))

    def close(self) -> None:
        """Ends the baseline's worker."""
        if self._baseline is not None:
            self._baseline.close()

    def rows(self, form: Form) -> Iterator[Row]:
        """A row for every case of a form, measured or with the reason why not."""
        common = {"model": self.model.name, "weights": self.model.weights, "form": form.name, "compute": form.compute}
        facts: Row = {"statistics": "none", **self._facts}
        left = list(self.cases)
        worker = self._baseline if form.name == BASELINE else None
        try:
            if worker is None:
                made = {"path": None, "statistics": "none"}
                if form.recipe is not None:  # in a process of its own, whose memory is not the form's
                    made = self._once("quantize", model=self.model, form=form, folder=self.folder, **self._shared)
                worker = self._start(self.device, self.settings.threads)
                facts = {"statistics": made["statistics"], **self._load(worker, form, made["path"])}
            while left:
                yield {**common, **facts, **asdict(left[0]), **self._case(worker, form, left[0])}
                left.pop(0)
        except FormError as error:
            where = f" (at {left[0].latents} latents, batch {left[0].batch})" if len(left) < len(self.cases) else ""
            for case in left:
                yield {**common, **asdict(case), "reason": f"{error}{where}"}
        finally:
            if worker is not None and worker is not self._baseline:
                worker.close()

    def _once(self, task: str, **request: Any) -> Any:
        worker = self._start(self.device, self.settings.threads)
        try:
            return worker.ask(task, **request)
        finally:
            worker.close()

    def _load(self, worker: WorkerProcess, form: Form, weights: str | None) -> Row:
        request = {"model": self.model, "form": form, "weights": weights, "conditionings": self._conditionings}
        facts: Row = worker.ask("load", self.settings.limit_seconds, **request, **self._shared)
        return facts

    def _case(self, worker: WorkerProcess, form: Form, case: Case) -> Row:
        """What was measured of a case; a failure after which the worker lives on is this case's alone.

        There are as many rounds as are asked for, or as fit the limit.
        """
        settings, limit = self.settings, self.settings.limit_seconds
        is_step = case.what == STEP
        try:
            for _ in range(WARM_UPS[self.device.partition(":")[0]] if is_step else 1):
                self._base(case)
                if worker is not self._baseline:
                    worker.ask("run", limit, case=case)
            pairs: list[tuple[float, float]] = []
            ends = time.monotonic() + limit
            for _ in range(settings.repeats if is_step else min(settings.repeats, GENERATION_ROUNDS)):
                pairs.append((self._base(case), worker.ask("run", limit, case=case)))
                if time.monotonic() > ends:
                    break
            measured = {"pairs": pairs, "peak_bytes": worker.ask("peak")}
            if is_step and not form.is_compiled:
                measured["profile"] = worker.ask("profile", limit, case=case)
            return measured
        except FormError as error:
            if error.is_gone:
                raise
            return {"reason": str(error)}

    def _base(self, case: Case) -> float:
        """A step of the baseline, whose failure ends the bench."""
        assert self._baseline is not None
        try:
            return float(self._baseline.ask("run", case=case))
        except FormError as error:
            raise UserError(
                f"The full-precision form of {self.model.name}, with which all others are compared, failed at {case.latents} "
                f"latents and batch {case.batch}: {error}. Ask for smaller sizes, or leave the model out."
            ) from error
