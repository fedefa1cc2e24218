"""Turns are taken; a form that fails is a row with its reason; ratios are of one round each."""

import math

import numpy as np
import pytest

from audioptq.bench.plan import Form
from audioptq.bench.process import FormError
from audioptq.bench.run import FILES, run_bench
from audioptq.bench.table import ratio, widths_of
from audioptq.errors import UserError
from audioptq.files.artifacts import read_parquet

BF16 = {"dtype": "bfloat16"}
RECIPE = Form("w4a8_rtn", "integer", {"weight": {"bits": 4}, "activation": {"bits": 8}})


def test_baseline_and_form_take_turns(fleet, make_plan, tmp_path):
    run_bench(make_plan(forms=(Form("eager_fp32", "float"), Form("eager_bf16", "float"))), tmp_path, fleet)
    base, own = ("eager_fp32", 4, 1), ("eager_bf16", 4, 1)
    larger_base, larger = ("eager_fp32", 8, 1), ("eager_bf16", 8, 1)
    # The baseline against itself: a warm-up, then two steps a round.
    assert fleet.log[:5] == [base] * 5
    assert fleet.log[5:10] == [larger_base] * 5
    assert fleet.log[10:] == [base, own] * 3 + [larger_base, larger] * 3
    assert fleet.open == 0
    assert fleet.started == [None, "cpu", "cpu", "cpu"]  # one describes the machine, and all others are where it was


def test_the_ratio_is_the_median_over_rounds(fleet, make_plan, tmp_path):
    # Everything becomes slower by half from round to round, so a ratio of medians of different rounds would be off.
    fleet.seconds = {"eager_fp32": lambda run: 6.0 * 1.5**run, "w4a8_rtn": lambda run: 2.0 * 1.5**run}
    plan = make_plan(forms=(RECIPE,), latents=(4,), repeats=5)
    table = run_bench(plan, tmp_path, fleet)
    row = table.iloc[0]
    assert (row["ratio"], row["ratio_low"], row["ratio_high"], row["rounds"]) == pytest.approx((3.0, 3.0, 3.0, 5))
    assert row["seconds"] == pytest.approx(2.0 * 1.5**4)  # the median of runs 2 to 6, the first of which warmed up
    assert row["operations"] == 24e9
    assert row["moved_bytes"] == pytest.approx(1e6 + 1e6 + 4 * 2e6 + 4 * 8e6)
    assert row["statistics"] == "random"
    assert fleet.log[0] == ("quantize", "w4a8_rtn")


def test_intervals_hold_the_median_and_one_round_has_none():
    rng = np.random.default_rng(0)
    own = np.full(9, 2.0)
    baseline = own * rng.normal(1.5, 0.1, 9)
    found = ratio(list(zip(baseline, own, strict=True)), seed=3)
    assert found["ratio"] == pytest.approx(np.median(baseline) / 2)
    assert baseline.min() / 2 <= found["ratio_low"] < found["ratio"] < found["ratio_high"] <= baseline.max() / 2
    alone = ratio([(3.0, 2.0)], seed=3)
    assert alone["ratio"] == 1.5
    assert math.isnan(alone["ratio_low"])


def test_what_is_refused_or_dies_is_a_row_with_its_reason(fleet, make_plan, tmp_path):
    fleet.refused = {"torchao_int4": "no int4 here"}
    fleet.gone = {"eager_bf16": 8}
    names = ("eager_fp32", "torchao_int4", "eager_bf16", "compiled_bf16")
    plan = make_plan(forms=tuple(Form(name, "float") for name in names), latents=(4, 8, 16))
    table = run_bench(plan, tmp_path, fleet).set_index(["form", "latents"])
    assert len(table) == 4 * 3  # a row for every form and size
    assert set(table.loc["torchao_int4", "reason"]) == {"no int4 here"}
    assert table.loc["torchao_int4", ["seconds", "ratio", "rounds", "operations"]].isna().all(axis=None)
    assert table.loc[("eager_bf16", 4), "ratio"] == 1.0
    for latents in (8, 16):  # the larger one is not tried again
        assert table.loc[("eager_bf16", latents), "reason"] == "its process ended by signal 9 (at 8 latents, batch 1)"
    assert table.loc["compiled_bf16", "reason"].isna().all()  # the next one is measured all the same
    assert fleet.open == 0
    page = (tmp_path / "bench.md").read_text()
    assert "- imagined, torchao_int4, float (4 x 1, 8 x 1, 16 x 1): no int4 here" in page
    assert "| torchao_int4" not in page
    assert page.count("The weights are random") == 3


def test_without_its_baseline_a_model_has_no_bench(fleet, make_plan, tmp_path):
    fleet.refused = {"eager_fp32": "it needs more memory"}
    with pytest.raises(UserError, match=r"bench of imagined \(nowhere\) cannot begin.*it needs more memory"):
        run_bench(make_plan(), tmp_path, fleet)
    fleet.refused, fleet.gone = {}, {"eager_fp32": 8}
    with pytest.raises(UserError, match="failed at 8 latents and batch 1"):
        run_bench(make_plan(), tmp_path, fleet)
    assert fleet.open == 0


def test_a_slow_form_gets_fewer_rounds(fleet, make_plan, tmp_path):
    plan = make_plan(latents=(4,), repeats=50, limit_seconds=1e-9)
    table = run_bench(plan, tmp_path, fleet)
    assert set(table["rounds"]) == {1}
    assert table["reason"].isna().all()


def test_what_is_written_says_how_it_was_measured(fleet, make_plan, tmp_path):
    table = run_bench(make_plan(generations=True), tmp_path, fleet)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    assert list(table["what"]) == ["step", "step", "generation"] * 2
    assert table.loc[table["what"] == "generation", ["latents", "batch"]].eq([16, 1]).all(axis=None)
    read, metadata = read_parquet(tmp_path / "steps.parquet", ["ratio", "reason"])
    assert len(read) == len(table)
    assert {"machine", "ceilings", "date", "load_before", "load_after", "repeats", "sampler"} <= set(metadata)
    profile, _ = read_parquet(tmp_path / "profile.parquet", ["kind", "share"])
    assert profile.groupby(["form", "latents"])["share"].sum().tolist() == pytest.approx([1.0] * 4)
    assert "no int8 products (no kernel)" in (tmp_path / "bench.md").read_text()


def test_a_failure_that_a_worker_survives_is_of_one_size_alone(fleet, make_plan, tmp_path, monkeypatch):
    own = type(fleet(None, None))
    fleet.open -= 1
    run = own.run

    def fails_once(self, case):
        if self.form == "eager_bf16" and case.latents == 4:
            raise FormError("out of memory")
        return run(self, case)

    monkeypatch.setattr(own, "run", fails_once)
    table = run_bench(make_plan(), tmp_path, fleet).set_index(["form", "latents"])
    assert table.loc[("eager_bf16", 4), "reason"] == "out of memory"
    assert table.loc[("eager_bf16", 8), "reason"] is None


def test_a_simulated_form_moves_its_integers_as_floats():
    assert widths_of("simulated", "float32")["weights"] == 4
    assert widths_of("integer", "float32")["weights"] == 1
    assert widths_of("float", "bfloat16")["weights"] == 2
    dtypes = {form.name: form.dtype for form in (RECIPE, Form("compiled_bf16", "float"), Form("x", "float", BF16))}
    assert dtypes == {"w4a8_rtn": "float32", "compiled_bf16": "bfloat16", "x": "bfloat16"}
