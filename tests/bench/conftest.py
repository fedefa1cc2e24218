"""Workers that only pretend, and the tiny model as a directory."""

import json

import pytest
from safetensors.torch import save_file

from audioptq.bench.plan import BenchModel, BenchSettings, Form
from audioptq.bench.process import FormError
from audioptq.sampling.sampler import DEFAULT_SAMPLER

COUNTS = {"operations": 24e9, "sites": {"weights": 1e6, "inputs": 1e6, "outputs": 2e6}, "rest": 8e6}
MACHINE = {
    "device": "cpu", "processor": "an imagined one", "instruction_sets": ["NONE"], "cores": 2, "threads": 1, "torch": "0",
}  # fmt: skip
CEILINGS = {
    "products": {"float32": {"per_second": 1e11, "by": "torch"}, "int8": {"per_second": None, "by": "no kernel"}},
    "bandwidth": {"copy": 1e10, "triad": 1.2e10},
}


class FakeWorkers:
    """Starts workers whose form is a word of its name: `seconds` by form, `refused` and `gone` by form."""

    def __init__(self):
        self.log, self.seconds, self.refused, self.gone, self.started, self.open = [], {}, {}, {}, [], 0

    def __call__(self, device, threads):
        self.started.append(device)
        self.open += 1
        return FakeWorker(self)


class FakeWorker:
    def __init__(self, fleet):
        self.fleet, self.form, self.runs = fleet, None, 0

    def ask(self, task, limit=None, **request):
        return getattr(self, task)(**request)

    def close(self):
        self.fleet.open -= 1

    def machine(self):
        return {"device": "cpu", "machine": MACHINE, "ceilings": CEILINGS}

    def prepare(self, model, cases, **_):
        return {"conditionings": {}, "counts": dict.fromkeys(cases, COUNTS), "clip_latents": 16}

    def quantize(self, model, form, folder, **_):
        self.fleet.log.append(("quantize", form.name))
        return {"path": f"{folder}/{form.name}", "statistics": "random"}

    def load(self, model, form, weights, **_):
        self.form = form.name
        if self.form in self.fleet.refused:
            raise FormError(self.fleet.refused[self.form])
        return {"load_seconds": 1.0, "file_bytes": None, "quantized_layers": 0, "integer_layers": 0, "note": ""}

    def run(self, case):
        self.fleet.log.append((self.form, case.latents, case.batch))
        if case.latents >= self.fleet.gone.get(self.form, float("inf")):
            raise FormError("its process ended by signal 9", is_gone=True)
        self.runs += 1
        return self.fleet.seconds.get(self.form, lambda run: 1.0)(self.runs)

    def profile(self, case):
        return {"linears": 3.0, "rest": 1.0}

    def peak(self):
        return 1_000_000_000


@pytest.fixture
def fleet():
    return FakeWorkers()


@pytest.fixture
def make_plan():
    """Settings of one imagined model; keywords change them."""

    def make(**changes):
        given = {
            "models": (BenchModel("imagined", "nowhere", "random"),),
            "forms": (Form("eager_fp32", "float"), Form("eager_bf16", "float")),
            "latents": (8, 4),
            "batches": (1,),
            "repeats": 2,
            "sampler": DEFAULT_SAMPLER.record(),
        }
        return BenchSettings(**(given | changes))

    return make


@pytest.fixture(scope="session")
def tiny_folder(tiny_model, tmp_path_factory):
    """The tiny model as a directory."""
    folder = tmp_path_factory.mktemp("bench") / "tiny"
    folder.mkdir()
    (folder / "model_config.json").write_text(json.dumps(tiny_model.config))
    save_file({k: v.contiguous() for k, v in tiny_model.network.state_dict().items()}, folder / "model.safetensors")
    return folder
