"""Takes turns: a step of the baseline, a step of a form, and so on, so that whatever the machine does else meets both."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from audioptq.bench.plan import BASELINE, GENERATION, STEP, BenchModel, BenchSettings, Case, Form
from audioptq.bench.process import FormError, Worker, as_request
from audioptq.errors import UserError

GENERATION_ROUNDS = 3
# Steps before the first round: one, and some more where kernels are tuned at first use.
WARM_UPS = {"cpu": 1, "cuda": 3}
Row = dict[str, Any]
Start = Callable[[str | None], Worker]


class Turns:
    """The bench of one model: a worker of the baseline that stays, and one of a form after the other.

    At most two models are in memory, and only one process works at a time.

    Args:
        settings: What is measured.
        model: The model.
        device: Where; the workers' own kind of name.
        start: Starts a worker on a device.
        folder: Where quantized files are kept.

    Raises:
        UserError: If the full-precision model cannot run.
    """

    def __init__(self, settings: BenchSettings, model: BenchModel, device: str, start: Start, folder: str) -> None:
        self.settings, self.model, self.device, self.folder = settings, model, device, folder
        self._start = start
        self._shared: dict[str, Any] = {"sampler": settings.sampler, "seed": settings.seed, "threads": settings.threads}
        self._baseline = start(device)
        try:
            self._baseline_facts = self._load(self._baseline, Form(BASELINE, "float"), None)
            clip_latents = self._baseline.ask("facts")["clip_latents"]
            self.counts = {case: self._baseline.ask("operations", **as_request(case)) for case in settings.cases()}
        except FormError as error:
            self._baseline.close()
            raise UserError(
                f"The bench of {model.name} ({model.folder}) cannot begin, since its full-precision form, with which all others "
                f"are compared, does not run: {error}. Mend that, or leave the model out."
            ) from error
        self.cases = settings.cases()
        if settings.generations or (settings.generations is None and device.startswith("cuda")):
            self.cases.append(Case(clip_latents, 1, GENERATION))

    def close(self) -> None:
        """Ends the baseline's worker."""
        self._baseline.close()

    def rows(self, form: Form) -> Iterator[Row]:
        """A row for every case of a form, measured or with the reason why not."""
        common = {"model": self.model.name, "weights": self.model.weights, "form": form.label, "compute": form.compute}
        common["dtype"] = form.dtype
        own = None
        left = list(self.cases)
        try:
            facts: Row = {"statistics": "none", **self._baseline_facts}
            worker = self._baseline
            if form.name != BASELINE:
                made = self._quantized(form)
                worker = own = self._start(self.device)
                facts = {"statistics": made["statistics"], **self._load(own, form, made["path"])}
            while left:
                case = left[0]
                yield {**common, **facts, **as_request(case), **self._case(worker, form, case)}
                left.pop(0)
        except FormError as error:
            for case in left:
                where = f" (at {left[0].latents} latents, batch {left[0].batch})" if len(left) < len(self.cases) else ""
                yield {**common, **as_request(case), "reason": f"{error}{where}"}
        finally:
            if own is not None:
                own.close()

    def _load(self, worker: Worker, form: Form, weights: str | None) -> Row:
        model, own = as_request(self.model), as_request(form)
        facts = worker.ask("load", self.settings.limit_seconds, model=model, form=own, weights=weights, **self._shared)
        facts["load_seconds"] = facts.pop("seconds")
        return facts

    def _quantized(self, form: Form) -> dict[str, Any]:
        """The recipe's file, made in a process of its own, whose memory is not the form's."""
        if form.recipe is None:
            return {"path": None, "statistics": "none"}
        worker = self._start(self.device)
        try:
            model, own = as_request(self.model), as_request(form)
            return worker.ask("quantize", model=model, form=own, folder=self.folder, **self._shared)
        finally:
            worker.close()

    def _case(self, worker: Worker, form: Form, case: Case) -> Row:
        """What was measured of a case; a failure after which the worker lives on is this case's alone."""
        limit, request = self.settings.limit_seconds, as_request(case)
        try:
            for _ in range(WARM_UPS[self.device.partition(":")[0]] if case.what == STEP else 1):
                self._base(case)
                if worker is not self._baseline:
                    worker.ask("run", limit, **request)
            baseline, own = self._rounds(worker, case)
            measured = {
                "baseline_seconds": baseline,
                "own_seconds": own,
                "peak_bytes": worker.ask("facts")["peak_bytes"],
            }
            if case.what == STEP and not form.is_compiled:
                measured["profile"] = worker.ask("profile", limit, **request)
            return measured
        except FormError as error:
            if error.is_gone:
                raise
            return {"reason": str(error)}

    def _rounds(self, worker: Worker, case: Case) -> tuple[list[float], list[float]]:
        """Seconds of the baseline and of the form, in turns; as many rounds as are asked for, or as fit the limit."""
        rounds = self.settings.repeats if case.what == STEP else min(self.settings.repeats, GENERATION_ROUNDS)
        limit, ends = self.settings.limit_seconds, time.monotonic() + self.settings.limit_seconds
        baseline: list[float] = []
        own: list[float] = []
        for _ in range(rounds):
            baseline.append(self._base(case))
            own.append(worker.ask("run", limit, **as_request(case))["seconds"])
            if time.monotonic() > ends:
                break
        return baseline, own

    def _base(self, case: Case) -> float:
        """A step of the baseline, whose failure ends the bench."""
        try:
            return float(self._baseline.ask("run", **as_request(case))["seconds"])
        except FormError as error:
            raise UserError(
                f"The full-precision form of {self.model.name}, with which all others are compared, failed at {case.latents} "
                f"latents and batch {case.batch}: {error}. Ask for smaller sizes, or leave the model out."
            ) from error
