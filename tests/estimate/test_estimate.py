"""What `audioptq estimate` measures in a made-up run, plans and simulates."""

import base64
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audioptq.cli import main
from audioptq.errors import UserError
from audioptq.estimate.measure import Cost, Costs, measure
from audioptq.estimate.plan import ON_GPU, Job, Target, planned_jobs
from audioptq.estimate.simulate import simulate
from audioptq.files.artifacts import write_parquet, write_tensors, write_text

STEPS, CLIP_STEP, LOAD, START, LATENCY = 10, 0.2, 5.0, 3.0, 0.5
COSTS = {"prompts": 0.1, "embed_clips": 0.3, "embed_captions": 0.05, "score": 0.2, "report": 0.4}
SIZES = Target(20, 3, 2, STEPS, 8, 17, 2, 4, 5, 2)


class Run:
    """A results folder that a run of known costs leaves behind, one job after another."""

    def __init__(self, folder: Path, n_clips: int, clips_per_shard: int) -> None:
        self.folder, self.clock = folder, 1000.0
        self.prompts("set", n_clips)
        self.job("prompts", "prompts", COSTS["prompts"] * n_clips)
        self.job("embed_captions", "embed/captions/set/clap", COSTS["embed_captions"] * n_clips)
        shards = [range(first, min(first + clips_per_shard, n_clips)) for first in range(0, n_clips, clips_per_shard)]
        for index, shard in enumerate(shards):
            name = f"mini/fp32/seed1/shard-{index:04d}"
            frame = pd.DataFrame({"clip_id": list(map(str, shard)), "seconds": CLIP_STEP * STEPS})
            write_parquet(folder / "results/generate" / f"{name}.parquet", frame, {"sampler": {"steps": STEPS}})
            self.job("generate", f"generate/{name}", LOAD + len(shard) * STEPS * CLIP_STEP)
            embedding = f"embed/{name.replace('shard', 'clap/shard')}"
            tensors, record = {"audio": np.ones(len(shard))}, {"clip_ids": list(map(str, shard))}
            write_tensors(folder / "results" / f"{embedding}.safetensors", tensors, record)
            self.job("embed_clips", embedding, 1 + COSTS["embed_clips"] * len(shard))
        record = {"clip_ids": list("abcde"), "sampler": {"steps": STEPS}}
        write_tensors(folder / "results/calibrate/mini/shard-0000.safetensors", {"sigmas": np.ones(STEPS)}, record)
        self.job("calibrate", "calibrate/mini/shard-0000", 5 * STEPS * 0.7)
        self.job("quantize", "quantize/mini/fp32", 11.0)
        self.job("score", "score/mini/fp32/seed1/lsd", COSTS["score"] * n_clips)
        self.job("report", "report", COSTS["report"] * n_clips)
        (folder / "results/report").mkdir()

    def prompts(self, name: str, count: int) -> None:
        frame = pd.DataFrame({"clip_id": list(map(str, range(count)))})
        write_parquet(self.folder / f"results/prompts/{name}.parquet", frame, {})

    def job(self, rule: str, log: str, own: float) -> None:
        path = f"results/logs/{log}.log"
        write_text(self.folder / path, f"12:00:00 all is well\n12:00:01 done in {own:.2f} s\n")
        ended = self.clock + START + own
        record = {"rule": rule, "log": [path], "starttime": self.clock, "endtime": ended}
        name = base64.b64encode(path.encode()).decode().replace("/", "_")
        write_text(self.folder / ".snakemake/metadata" / name, json.dumps(record))
        self.clock = ended + LATENCY


def test_costs_of_a_run_are_found_again(tmp_path: Path) -> None:
    Run(tmp_path / "small", 11, 8)
    Run(tmp_path / "large", 30, 8)
    costs = measure([tmp_path / "small/results", tmp_path / "large/results"])
    assert (costs.start, costs.latency) == pytest.approx((START, LATENCY), abs=0.01)
    assert (costs.stages["generate"].fixed, costs.stages["generate"].each) == pytest.approx((LOAD, CLIP_STEP), abs=0.01)
    assert costs.stages["quantize"].of(1) == pytest.approx(11.0, abs=0.01)
    assert costs.stages["calibrate"].of(1) == pytest.approx(0.7, abs=0.01)
    assert costs.stages["embed_clips"].of(100) == pytest.approx(1 + 100 * COSTS["embed_clips"], rel=0.01)
    assert costs.stages["score"].of(100) == pytest.approx(100 * COSTS["score"], rel=0.01)


def test_a_plan_has_the_jobs_of_the_workflow() -> None:
    stages = {stage: Cost(1.0, 0.0) for stage in [*COSTS, "calibrate", "quantize"]}
    costs = Costs(stages | {"generate": Cost(1.0, CLIP_STEP)}, 0.0, 0.0)
    jobs = planned_jobs(SIZES, costs)
    counts = {stage: sum(job.stage == stage for job in jobs) for stage in costs.stages}
    sets, shards, embedded = 3 * 2 + 1, 3, 2  # 17 clips to embed at once are two shards of eight
    assert counts["generate"] == sets * shards
    assert counts["embed_clips"] == sets * embedded * 2
    assert sorted(len(job.needs) for job in jobs if job.stage == "embed_clips") == sorted([2, 1] * sets * 2)
    assert counts["score"] == sets * 4
    assert (counts["quantize"], counts["prompts"], counts["calibrate"], counts["report"]) == (3, 1, 3, 1)
    assert all(need < number for number, job in enumerate(jobs) for need in job.needs)
    generated = sum(job.seconds for job in jobs if job.stage == "generate")
    assert generated == pytest.approx(sets * 20 * STEPS * CLIP_STEP + sets * shards)


def test_one_place_does_everything_in_turn_and_many_wait_for_the_longest_chain() -> None:
    rng = np.random.default_rng(0)
    costs = Costs({}, 0.25, 0.75)
    jobs = [
        Job("generate" if rng.random() < 0.5 else "score", float(rng.random()), tuple(rng.choice(n, min(n, 2), False)))
        for n in range(60)
    ]
    alone, crowd = simulate(jobs, costs, 1), simulate(jobs, costs, 1000)
    assert alone.seconds == pytest.approx(sum(job.seconds + 1 for job in jobs))
    assert crowd.seconds == pytest.approx(crowd.longest_chain)
    assert alone.overhead == pytest.approx(60 / (60 + alone.work))
    between = [simulate(jobs, costs, 1000, gpus).seconds for gpus in (1, 3, 9)]
    assert alone.seconds > between[0] > between[-1] >= crowd.seconds
    on_gpu = sum(job.seconds + 1 for job in jobs if job.stage in ON_GPU)
    assert between[0] >= on_gpu


def test_jobs_that_wait_for_nobody_fill_the_places() -> None:
    costs = Costs({}, 0.0, 0.0)
    assert simulate([Job("score", 1.0)] * 10, costs, 4).seconds == 3.0


def test_the_command_prints_a_line_per_number_of_gpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run(tmp_path, 11, 8)
    main(["estimate", str(tmp_path / "results"), "--gpus", "1", "8", "--seconds-per-clip-step", "0.1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[-2:]] == ["1 GPUs", "8 GPUs"]
    assert any("0.1000 s a clip and step" in line for line in lines)


def test_another_machines_start_and_latency_take_the_place_of_the_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Run(tmp_path, 11, 8)
    main(["estimate", str(tmp_path / "results"), "--start", "40", "--latency", "50"])
    assert "a job takes 40.0 s to start and end, and 50.0 s until the next" in capsys.readouterr().out


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=f"{tmp_path / 'none'} holds no finished run"):
        measure([tmp_path / "none"])
    Run(tmp_path, 11, 8)
    for log in (tmp_path / "results/logs/score").rglob("*.log"):
        log.write_text("12:00:00 as an earlier version wrote it\n")
    with pytest.raises(UserError, match="how long score took"):
        measure([tmp_path / "results"])
    with pytest.raises(SystemExit):
        main(["estimate", str(tmp_path / "results"), "--latency", "-1"])
    assert "do not say" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--latency", "--start", "--seconds-to-load", "--seconds-per-clip-step"])
def test_negative_seconds_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    Run(tmp_path, 11, 8)
    with pytest.raises(SystemExit):
        main(["estimate", str(tmp_path / "results"), option, "-1"])
    assert "Seconds cannot be negative" in capsys.readouterr().err
