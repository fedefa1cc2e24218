"""What it costs to plan a run of the paper's size, where nothing is computed: processor seconds and memory of Snakemake.

Seconds depend on the machine and on who else works there, so they are held against the start of a small run, and printed
(`pytest -rP`). On a quiet machine the bars are 30 s for a dry run, 60 s for a run with nothing to do, and 1 GiB.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
N_CAPTIONS = 4875
CAPTIONS_PER_REFERENCE = 5
CLIPS_PER_SHARD = 325
RECIPES = [
    "fp32", "bf16", "w8a16", "w8a8_rtn", "w8a8_sqs", "w8a8_sqd", "w8a8_sqd_lora",
    "w4a8_rtn", "w4a8_sqs", "w4a8_sqd", "w4a8_sqd_lora", "w4a4_sqd", "w4a4_sqd_lora",
]  # fmt: skip
# Snakemake's own, without the tenth of a second that it waits after every job that it touches.
TOUCH = (
    "from snakemake.executors.touch import Executor; Executor.SLEEPING_TIME = 0; from snakemake.cli import main; main()"
)
# Runs a command from a small process: the peak memory of a child begins with that of the process that starts it.
MEASURED = """
import json, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as handle:
    json.dump({"code": code, "seconds": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024}, handle)
"""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Cost:
    """Processor seconds and peak memory (bytes) of a command, and what it printed."""

    seconds: float
    memory: int
    output: str


class Plan:
    """A run of `n_captions` captions with each of `recipes`, of which nothing is made."""

    def __init__(self, folder: Path, n_captions: int, recipes: list[str], seeds: list[int]) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "models").symlink_to(REPOSITORY / "models")
        (folder / "references").mkdir()
        with (folder / "captions.csv").open("w", newline="") as handle:
            rows = csv.writer(handle)
            rows.writerow(["id", "recording", "text"])
            for index in range(n_captions):
                recording = f"recording-{index // CAPTIONS_PER_REFERENCE}"
                (folder / "references" / f"{recording}.wav").touch()
                rows.writerow([index, recording, f"A dog barks, and then {index} birds sing"])
        columns = {"clip_id": "id", "caption": "text", "reference_id": "recording"}
        dataset = {"kind": "csv", "path": "captions.csv", "columns": columns, "seconds_total": 4.0}
        config: dict[str, Any] = {
            "dataset": "captions",
            "datasets": {"captions": {**dataset, "reference_dir": "references"}},
            "generation": {"seeds": seeds, "noise_floor_seed": max(seeds) + 1, "clips_per_shard": CLIPS_PER_SHARD},
            "run": recipes,
        }
        (folder / "plan.yaml").write_text(yaml.safe_dump(config))

    def __call__(self, *arguments: str, program: tuple[str, ...] = ("snakemake",)) -> Cost:
        """Runs Snakemake; it must end well."""
        files = [str(REPOSITORY / "config.yaml"), "plan.yaml"]
        command = [
            *program,
            "--snakefile",
            str(REPOSITORY / "Snakefile"),
            "--configfile",
            *files,
            "--cores",
            "1",
            *arguments,
        ]
        printed, measured = self.folder / "printed", self.folder / "measured.json"
        with printed.open("w") as handle:
            runner = [sys.executable, "-c", MEASURED, str(measured)]
            subprocess.run([*runner, *command], cwd=self.folder, stdout=handle, stderr=subprocess.STDOUT, check=True)
        output, usage = printed.read_text(), json.loads(measured.read_text())
        assert usage["code"] == 0, output[-4000:]
        return Cost(usage["seconds"], usage["memory"], output)

    def pretend(self) -> None:
        """Leaves an empty file for every output, with the record of how it was made."""
        rows = self("--summary").output.splitlines()
        header = next(index for index, row in enumerate(rows) if row.startswith("output_file\t"))
        for row in rows[header + 1 :]:
            path = self.folder / row.partition("\t")[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self("--touch", "--forceall", "--quiet", "all", program=(sys.executable, "-c", TOUCH))


def n_jobs(output: str) -> int:
    """Jobs of a dry run, from the table that it prints."""
    return next(int(line.split()[1]) for line in output.splitlines() if line.startswith("total "))


@pytest.fixture(scope="module")
def make_plan(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Plan]:
    folder = tmp_path_factory.mktemp("plans")

    def make(n_captions: int, recipes: list[str], seeds: list[int]) -> Plan:
        return Plan(folder / f"{n_captions}-{len(recipes)}-{len(seeds)}", n_captions, recipes, seeds)

    return make


@pytest.fixture(scope="module")
def start(make_plan: Callable[..., Plan]) -> float:
    """Processor seconds of a dry run with hardly a job."""
    return make_plan(CAPTIONS_PER_REFERENCE, ["fp32"], [1000])("--dry-run").seconds


def test_a_dry_run_of_the_paper_is_soon_there(make_plan: Callable[..., Plan], start: float) -> None:
    cost = make_plan(N_CAPTIONS, RECIPES, [1000, 1001, 1002])("--dry-run")
    print(
        f"{n_jobs(cost.output)} jobs: {cost.seconds:.1f} s of processor, {cost.memory / 2**20:.0f} MiB; start {start:.1f} s"
    )
    assert n_jobs(cost.output) > 900
    assert cost.memory < 2**30
    assert cost.seconds < 15 * start  # a bar of 30 s where a start takes two


def test_the_cost_of_planning_grows_as_the_captions_do(make_plan: Callable[..., Plan], start: float) -> None:
    # Four and ten times the paper's captions: of one time, hardly a second would lie beyond the start, and noise would be half of it.
    four, ten = (make_plan(times * N_CAPTIONS, RECIPES[:4], [1000])("--dry-run") for times in (4, 10))
    print(
        f"{n_jobs(four.output)} jobs {four.seconds:.1f} s, {n_jobs(ten.output)} jobs {ten.seconds:.1f} s, start {start:.1f} s"
    )
    # Beyond the start. Half as much again for neighbours on the processor; a quadratic plan costs 6.25 times as much.
    assert ten.seconds - start < 1.5 * 10 / 4 * (four.seconds - start)


def test_a_run_with_nothing_to_do_costs_no_more_than_planning_it(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(N_CAPTIONS, RECIPES[:3], [1001])
    planned = plan("--dry-run")
    plan.pretend()
    idle = plan()
    print(f"{n_jobs(planned.output)} jobs: planned in {planned.seconds:.1f} s, nothing to do in {idle.seconds:.1f} s")
    assert "Nothing to be done" in idle.output
    assert idle.seconds < 2 * planned.seconds
