"""The bench in real processes on a tiny model, the command, and its mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from audioptq.bench.machine import describe_machine, measure_ceilings, peak_bytes
from audioptq.bench.plan import BenchModel
from audioptq.bench.process import FormError, WorkerProcess
from audioptq.bench.quantized import random_statistics
from audioptq.bench.run import FILES
from audioptq.cli import main
from audioptq.files.artifacts import read_parquet

RECIPES = {
    "bf16": {"dtype": "bfloat16"},
    "w4a8_rtn": {"weight": {"bits": 4}, "activation": {"bits": 8}},
    "w8a8_sqd": {"weight": {"bits": 8}, "activation": {"bits": 8}, "smoothing": {"kind": "timestep"}},
}


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "library.yaml"
    path.write_text(yaml.safe_dump({"recipes": RECIPES, "sampler": {"sigma_max": 80.0}}))
    return path


@pytest.fixture
def quick_ceilings(monkeypatch):
    """Real workers, but for the ceilings, which are those of another test."""
    ask = WorkerProcess.ask
    found = {"products": {"float32": {"per_second": 1e12, "by": "torch"}}, "bandwidth": {"copy": 1e10}}

    def answer(self, task, limit=None, **request):
        if task == "machine":
            return {"device": "cpu", "machine": describe_machine("cpu"), "ceilings": found}
        return ask(self, task, limit, **request)

    monkeypatch.setattr(WorkerProcess, "ask", answer)


@pytest.mark.slow
def test_the_command_measures_each_form_in_processes_of_their_own(
    tiny_folder, library, tmp_path, capsys, quick_ceilings
):
    output = tmp_path / "bench"
    arguments = ["bench", "--models", f"little={tiny_folder}", "--random-weights", "little", "--recipes", str(library)]
    sizes = ["--latents", "16", "--batch", "1", "--repeats", "2", "--steps", "3", "--threads", "1", "-o", str(output)]
    main(
        [
            *arguments,
            *sizes,
            "--generations",
            "--forms",
            "torchao_int4",
            "bf16",
            "w4a8_rtn:integer",
            "w8a8_sqd:simulated",
        ]
    )
    page = capsys.readouterr().out
    table, metadata = read_parquet(output / "steps.parquet")
    assert {path.name for path in output.iterdir()} == {*FILES, "quantized"}
    assert list(zip(table["form"], table["what"], strict=True)) == [
        (form, what)
        for form in ("eager_fp32", "torchao_int4", "bf16", "w4a8_rtn", "w8a8_sqd")
        for what in ("step", "generation")
    ]
    steps = table[table["what"] == "step"].set_index("form")
    assert (steps["weights"] == "random").all()
    assert steps["statistics"].to_dict() == {
        "eager_fp32": "none", "torchao_int4": None, "bf16": "none", "w4a8_rtn": "none", "w8a8_sqd": "random",
    }  # fmt: skip
    ran = table[table["reason"].isna()]
    assert {"eager_fp32", "bf16", "w8a8_sqd"} <= set(ran["form"])
    assert (ran[["seconds", "ratio", "peak_bytes"]] > 0).all(axis=None)
    assert steps.loc["w8a8_sqd", "file_bytes"] < steps.loc["eager_fp32", "file_bytes"]
    assert steps.loc["w8a8_sqd", "quantized_layers"] == 14
    assert steps.loc["w8a8_sqd", "integer_layers"] == 0
    if steps.loc["torchao_int4", "reason"] is not None:
        assert "torchao has no int4 weights here" in steps.loc["torchao_int4", "reason"]
    if steps.loc["w4a8_rtn", "reason"] is None:
        assert steps.loc["w4a8_rtn", "integer_layers"] == 14
    assert metadata["sampler"] == {**metadata["sampler"], "steps": 3, "sigma_max": 80.0}
    assert "The weights are random" in page
    profile, _ = read_parquet(output / "profile.parquet")
    quantizing = profile[profile["kind"] == "quantizing"].set_index("form")["seconds"]
    assert quantizing["eager_fp32"] == 0 < quantizing["w8a8_sqd"]
    kept = {path: path.stat().st_mtime_ns for path in (output / "quantized/little").iterdir()}
    assert len(kept) == 3
    main([*arguments, *sizes, "--forms", "bf16"])
    assert {path: path.stat().st_mtime_ns for path in (output / "quantized/little").iterdir()} == kept


@pytest.mark.slow
def test_a_worker_says_what_went_wrong_and_a_dead_one_is_noticed(tiny_folder):
    worker = WorkerProcess("cpu")
    try:
        model = BenchModel("little", str(tiny_folder / "nowhere"))
        with pytest.raises(FormError, match="nowhere") as caught:
            worker.ask("prepare", model=model, cases=[], sampler={}, seed=0)
        assert not caught.value.is_gone
        with pytest.raises(FormError, match=r"TypeError: .*unexpected keyword argument 'colour'"):
            worker.ask("peak", colour="blue")
        worker._process.kill()
        with pytest.raises(FormError, match="its process ended by signal 9, as the system does") as caught:
            worker.ask("peak")
        assert caught.value.is_gone
    finally:
        worker.close()


@pytest.mark.slow
def test_a_worker_that_takes_too_long_is_ended():
    worker = WorkerProcess("cpu")
    with pytest.raises(FormError, match=r"took longer than 0\.01 s") as caught:
        worker.ask("machine", 0.01)
    assert caught.value.is_gone
    assert worker._process.poll() is not None
    worker.close()


# Another process keeps the worker's requests open, so that the end of these does not end it.
PARENT = """
import os
import subprocess
from audioptq.bench.process import WorkerProcess
worker = WorkerProcess("cpu")
requests = worker._pipe.fileno()
holder = subprocess.Popen(["sleep", "300"], pass_fds=[requests], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(worker._process.pid, holder.pid, flush=True)
os._exit(1)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system does not tell when a process ends")
def test_a_worker_ends_with_its_parent():
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", PARENT], env=os.environ | environment, capture_output=True, text=True)
    worker, holder = map(int, done.stdout.split())
    status = Path(f"/proc/{worker}/status")
    ends = time.monotonic() + 120
    try:
        while status.exists() and "State:\tZ" not in status.read_text():
            assert time.monotonic() < ends
            time.sleep(0.05)
    finally:
        os.kill(holder, signal.SIGKILL)


def test_ceilings_are_rates_or_reasons():
    found = measure_ceilings("cpu", ((32, 64, 64),), 1 << 12, 0.01)
    assert set(found["products"]) == {"float32", "bfloat16", "int8 x 8-bit weights", "int8 x 4-bit weights"}
    for product in found["products"].values():
        assert product["by"]
        assert product["per_second"] is None or product["per_second"] > 0
    assert all(rate > 0 for rate in found["bandwidth"].values())


def test_the_machine_is_described_and_its_memory_counted():
    machine = describe_machine("cpu")
    assert machine["instruction_sets"][0]
    assert json.dumps(machine)
    before = peak_bytes("cpu")
    if before is None:
        pytest.skip("this system does not tell how much memory a process took")
    held = bytearray(b"1" * before)  # every page is written
    assert peak_bytes("cpu") > before
    assert held


def test_random_statistics_are_constant_where_the_prompt_goes_in(tiny_model, make_settings):
    stats = random_statistics(tiny_model, make_settings(), 0)
    assert set(stats.layers) == set([site.name for site in tiny_model.sites()])
    for name, layer in stats.layers.items():
        assert (layer.absmax > 0).all()
        is_constant = bool((layer.absmax == layer.absmax[0]).all())
        assert is_constant == name.endswith("cross_attn.to_kv"), name
    again = random_statistics(tiny_model, make_settings(), 0)
    assert all((again.layers[name].absmax == layer.absmax).all() for name, layer in stats.layers.items())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "nowhere"], "no model directory nowhere"),
        (
            ["--models", "{folder}", "--random-weights", "other"],
            "--random-weights names other, but the models are tiny",
        ),
        (["--models", "{folder}", "{folder}"], "have the same name"),
        (["--models", "{folder}", "--recipes", "{library}", "--forms", "w8a8_sqs"], "knows no form 'w8a8_sqs'"),
        (["--models", "{folder}", "--recipes", "no.yaml"], "no.yaml cannot be read"),
        (["--models", "{folder}", "--recipes", "{library}", "--steps", "1"], "at least 2 steps"),
        (["--models", "{folder}", "--limit", "0"], "--limit is 0"),
    ],
)
def test_mistakes_are_one_paragraph(arguments, words, tiny_folder, library, capsys):
    places = {"folder": tiny_folder, "library": library}
    with pytest.raises(SystemExit) as caught:
        main(["bench", *(argument.format(**places) for argument in arguments)])
    assert caught.value.code == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    assert words in error
