"""The workflow on a real Slurm: the table of a local run, a cancelled job, a killed driver."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
import yaml

if TYPE_CHECKING:
    from tests.slurm.conftest import Cluster

REPOSITORY = Path(__file__).parents[2]
TIMING = ["seconds_per_clip", "speedup"]
CONFIG = yaml.safe_load((REPOSITORY / "tests/config.tiny.yaml").read_text(encoding="utf-8")) | {
    "results": "results",
    "run": ["fp32", "w8a8_sqd"],
    "metrics": ["lsd_db"],
    # One shard of three batches, so that a job can be ended between two of them.
    "generation": {"clips_per_shard": 6, "batch_size": 2},
}
SITE = {"processors": 2, "gpu_model": "toy"}
# A cluster of one machine answers at once.
QUICK = ["--slurm-init-seconds-before-status-checks", "4", "--latency-wait", "15"]

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


class Run:
    """One working directory, and the configuration that fills its results."""

    def __init__(self, folder: Path, cluster: "Cluster") -> None:
        self.folder, self.cluster = folder, cluster
        folder.mkdir(exist_ok=True)
        if not (folder / "models").exists():
            (folder / "models").symlink_to(REPOSITORY / "models")
        (folder / "experiment.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        files = [str(REPOSITORY / "config.yaml"), str(self.folder / "experiment.yaml")]
        snakefile = ["snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(self.folder)]
        return [*snakefile, "--configfile", *files, *arguments]

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments), env=self.cluster.environment, capture_output=True, text=True, timeout=600
        )

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Starts a driver and does not wait for it; what it prints goes to `driver.log`."""
        with (self.folder / "driver.log").open("wb") as log:
            command = self.command(*arguments)
            return subprocess.Popen(command, env=self.cluster.environment, stdout=log, stderr=log)

    def log(self) -> str:
        return (self.folder / "driver.log").read_text(encoding="utf-8")

    def records(self) -> dict[Path, int]:
        """Records of finished batches, and when they were written."""
        return {path: path.stat().st_mtime_ns for path in self.folder.glob("results/generate/**/*-batch-*.parquet")}

    def pause_after_a_batch(self, driver: "subprocess.Popen[bytes]") -> tuple[str, str, list[int]]:
        """Stops the clock of a generating job when it has finished its first batch: so slow a job cannot end by itself.

        Returns:
            The job's comment, its Slurm id, and the processes that stand still.
        """
        there, deadline = self.records(), time.monotonic() + 600
        while not (new := {path: written for path, written in self.records().items() if path not in there}):
            assert driver.poll() is None, self.log()[-4000:]
            assert time.monotonic() < deadline, "no batch was finished"
            time.sleep(0.05)
        comment = comment_of(max(new, key=new.__getitem__))
        job_id = job_ids(self.cluster, comment)[-1]
        writers = scripts_of(self.cluster, job_id)
        assert writers
        for pid in writers:
            os.kill(pid, signal.SIGSTOP)
        return comment, job_id, writers

    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "results/report/table.csv").drop(columns=TIMING)


def comment_of(record: Path) -> str:
    """The comment of the Slurm job that writes a batch record."""
    *_, model, recipe, seed, _, name = record.parts
    return f"rule_generate_wildcards_{model}_{recipe}_{seed.removeprefix('seed')}_{name.split('-')[1]}"


def job_ids(cluster: "Cluster", comment: str) -> list[str]:
    """Slurm jobs of one of the workflow's, first to last."""
    return sorted((job_id for job_id, of in cluster.jobs("%i|%k") if of == comment), key=int)


def scripts_of(cluster: "Cluster", job_id: str) -> list[int]:
    """Processes of a Slurm job that run the script of its rule, not Snakemake."""

    pids = cluster.processes(f"SLURM_JOB_ID={job_id}")
    return [pid for pid in pids if b".snakemake/scripts/" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The shipped profile with a site's own lines, and no other, changed."""
    content = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    content["__variables__"] |= SITE
    path = tmp_path_factory.mktemp("profile") / "config.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return f"--workflow-profile={path}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def local(folder: Path, cluster: "Cluster") -> Iterator[tuple[Run, "subprocess.Popen[bytes]"]]:
    """A run without Slurm that has started; it fills the time in which the others wait."""
    run = Run(folder / "local", cluster)
    driver = run.start("--cores", "2")
    yield run, driver
    driver.terminate()
    driver.wait()


@pytest.fixture(scope="module")
def expected(local: tuple[Run, "subprocess.Popen[bytes]"]) -> pd.DataFrame:
    """The table of the run without Slurm."""
    run, driver = local
    assert driver.wait(timeout=600) == 0, run.log()[-4000:]
    return run.table()


@pytest.fixture(scope="module")
def cancelled(folder: Path, cluster: "Cluster", profile: str, local: object) -> tuple[Run, str, dict[Path, int]]:
    """A run on Slurm with a generating job cancelled after its first batch: the run, that job, the batches it had finished."""
    run = Run(folder / "cancelled", cluster)
    driver = run.start(profile, *QUICK)
    try:
        comment, job_id, _ = run.pause_after_a_batch(driver)
        finished = {path: written for path, written in run.records().items() if comment_of(path) == comment}
        cluster.ask("scancel", job_id)
        assert driver.wait(timeout=600) == 0, run.log()[-4000:]
    finally:
        driver.kill()
    return run, job_id, finished


def test_a_run_on_slurm_ends_in_the_table_of_a_local_one(
    cancelled: tuple[Run, str, dict[Path, int]], expected: pd.DataFrame
) -> None:
    pd.testing.assert_frame_equal(cancelled[0].table(), expected)


def test_a_cancelled_job_is_started_again_and_keeps_its_batches(
    cluster: "Cluster", cancelled: tuple[Run, str, dict[Path, int]]
) -> None:
    run, job_id, finished = cancelled
    states = dict(cluster.jobs("%i|%T"))
    assert states[job_id] == "CANCELLED"
    assert f"SLURM-job '{job_id}' failed, SLURM status is: 'CANCELLED'" in run.log()
    assert "Trying to restart job" in run.log()
    assert finished
    assert {path: written for path, written in run.records().items() if path in finished} == finished


def test_jobs_ask_for_what_their_rule_needs(cluster: "Cluster", cancelled: tuple[Run, str, dict[Path, int]]) -> None:
    asked = {}
    for job in cluster.ask("scontrol", "--oneliner", "show", "job").splitlines():
        fields = dict(field.split("=", 1) for field in job.split() if "=" in field)
        asked.setdefault(re.match(r"rule_(\w+?)(_wildcards|$)", fields["Comment"])[1], []).append(fields)
    for rule in ("calibrate", "generate"):
        assert {(job["Partition"], job["TresPerJob"]) for job in asked[rule]} == {("gpu", "gres:gpu:toy:1")}, rule
    for rule in ("prompts", "quantize", "scores_score", "report"):
        assert {(job["Partition"], "TresPerJob" in job) for job in asked[rule]} == {("cpu", False)}, rule
    assert len(asked["scores_score"]) == 1  # of three
    first, *_, again = sorted(asked["generate"], key=lambda job: int(job["JobId"]))
    assert (first["MinMemoryNode"], again["MinMemoryNode"]) == ("16000M", "32000M")


def test_a_killed_driver_leaves_no_job_that_writes_beside_its_successor(
    folder: Path, cluster: "Cluster", profile: str, expected: pd.DataFrame, cancelled: tuple[Run, str, dict[Path, int]]
) -> None:
    shutil.copytree(cancelled[0].folder, folder / "killed", symlinks=True)
    run = Run(folder / "killed", cluster)
    for made in ("generate/mini/w8a8_sqd", "score/mini/w8a8_sqd", "report"):
        shutil.rmtree(run.folder / "results" / made)

    driver = run.start(profile, *QUICK)
    try:
        comment, orphan, writers = run.pause_after_a_batch(driver)
        second = run(profile)
    finally:
        driver.kill()
        driver.wait()
    assert second.returncode != 0
    assert "--unlock" in second.stderr
    finished = run.records()

    assert run("--unlock", "--cores", "1").returncode == 0
    driver = run.start(profile, *QUICK)
    try:
        while job_ids(cluster, comment)[-1] == orphan:
            assert driver.poll() is None, run.log()[-4000:]
            time.sleep(0.05)
        assert not set(writers) & set(cluster.processes()), "the orphan and its successor are there at the same time"
        assert driver.wait(timeout=600) == 0, run.log()[-4000:]
    finally:
        driver.kill()

    assert re.search(
        rf"A killed run left Slurm jobs for results; they are cancelled: .*{orphan} \(rule_generate", run.log()
    )
    assert dict(cluster.jobs("%i|%T"))[orphan] == "CANCELLED"
    assert_one_at_a_time(cluster)
    assert finished
    assert {path: written for path, written in run.records().items() if path in finished} == finished
    pd.testing.assert_frame_equal(run.table(), expected)
    dry = run("--dry-run", "--cores", "2")
    assert "Nothing to be done" in dry.stdout + dry.stderr
    assert "provenance" not in dry.stdout + dry.stderr


def assert_one_at_a_time(cluster: "Cluster") -> None:
    """No two jobs of one shard of one working directory overlapped."""
    spans: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for folder, comment, start, end in cluster.jobs("%Z|%k|%S|%e"):
        spans.setdefault((folder, comment), []).append((start, end))
    for jobs in spans.values():
        ran = sorted(span for span in jobs if span[0] != "N/A")
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(ran)), jobs
