"""The workflow on a real Slurm: a cancelled job, a killed driver, a second driver; and at the end the table of a local run."""

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.slurm.cluster import Cluster, wait_until

REPOSITORY = Path(__file__).parents[2]
TIMING = [f"{name}{end}" for name in ("seconds_per_clip", "speedup") for end in ("", "_low", "_high")]
CONFIG = yaml.safe_load((REPOSITORY / "tests/config.tiny.yaml").read_text(encoding="utf-8")) | {
    "results": "results",
    "run": ["fp32", "w8a8_sqd"],
    "metrics": ["lsd_db"],
    # One shard of three batches, so that a job can be ended between two of them, twice.
    "generation": {"clips_per_shard": 6, "batch_size": 2},
}
SITE = {"processors": 2, "gpu_model": "toy"}
# A cluster of one machine answers at once.
QUICK = ["--slurm-init-seconds-before-status-checks", "4", "--latency-wait", "15"]
PATIENCE = 400.0

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


class Run:
    """One working directory, and the configuration that fills its results."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.drivers: list[subprocess.Popen[bytes]] = []
        folder.mkdir()
        (folder / "models").symlink_to(REPOSITORY / "models")
        (folder / "experiment.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        files = [str(REPOSITORY / "config.yaml"), str(self.folder / "experiment.yaml")]
        snakemake = [sys.executable, str(REPOSITORY / "tests/slurm/eager_snakemake.py")]
        where = ["--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(self.folder)]
        return [*snakemake, *where, "--configfile", *files, *arguments]

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments), env=self.cluster.environment, capture_output=True, text=True, timeout=PATIENCE
        )

    def start(self, *arguments: str) -> None:
        """Starts a driver and does not wait for it; what it prints goes to `driver.log`."""
        with (self.folder / "driver.log").open("wb") as log:
            command = self.command(*arguments)
            self.drivers.append(subprocess.Popen(command, env=self.cluster.environment, stdout=log, stderr=log))

    @property
    def driver(self) -> "subprocess.Popen[bytes]":
        return self.drivers[-1]

    def finish(self) -> None:
        assert self.driver.wait(timeout=PATIENCE) == 0, self.log()[-4000:]

    def kill(self) -> None:
        self.driver.kill()
        self.driver.wait()

    def log(self) -> str:
        return (self.folder / "driver.log").read_text(encoding="utf-8")

    def batches(self, comment: str = "") -> dict[Path, int]:
        """Records of finished batches, of one job or of all, and when they were written."""
        paths = self.folder.glob("results/generate/**/*-batch-*.parquet")
        return {path: path.stat().st_mtime_ns for path in paths if comment in ("", comment_of(path))}

    def pause_after_a_batch(self, comment: str = "") -> "Paused":
        """Stops the clock of a generating job when it has finished a batch: so slow a job cannot end by itself.

        Args:
            comment: That of the job; empty for whichever is first.
        """
        before = self.batches()

        def new() -> dict[Path, int]:
            assert self.driver.poll() is None, self.log()[-4000:]
            return {path: written for path, written in self.batches(comment).items() if path not in before}

        wait_until(new, PATIENCE, "no batch was finished")
        comment = comment or comment_of(max(new(), key=new().__getitem__))
        job_id = job_ids(self.cluster, comment)[-1]
        writers = scripts_of(self.cluster, job_id)
        assert writers, f"{comment} ended before it could be paused"
        for pid in writers:
            os.kill(pid, signal.SIGSTOP)
        return Paused(comment, job_id, writers, self.batches(comment))

    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "results/report/table.csv").drop(columns=TIMING)


@dataclass(frozen=True)
class Paused:
    """A generating job that stands still: its comment and id in Slurm, its processes, and the batches that its shard has."""

    comment: str
    job_id: str
    writers: list[int]
    batches: dict[Path, int]


@dataclass(frozen=True)
class Story:
    """What happened to a run on Slurm.

    Attributes:
        run: In its end.
        cancelled: The job that was cancelled after its first batch.
        orphan: Its successor, left behind after another batch by a driver that was killed.
        logs: What the killed driver printed, and what the one after it did.
        second: A driver that was started beside the first.
        stale: One that was started when the first was dead.
        met: Processes of the orphan that were there when its own successor was submitted.
    """

    run: Run
    cancelled: Paused
    orphan: Paused
    logs: tuple[str, str]
    second: "subprocess.CompletedProcess[str]"
    stale: "subprocess.CompletedProcess[str]"
    met: set[int]


def comment_of(record: Path) -> str:
    """The comment of the Slurm job that writes a batch record."""
    *_, model, recipe, seed, _, name = record.parts
    return f"rule_generate_wildcards_{model}_{recipe}_{seed.removeprefix('seed')}_{name.split('-')[1]}"


def job_ids(cluster: Cluster, comment: str) -> list[str]:
    """Slurm jobs of one of the workflow's, first to last."""
    return sorted((job_id for job_id, of in cluster.jobs("%i|%k") if of == comment), key=int)


def scripts_of(cluster: Cluster, job_id: str) -> list[int]:
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
def local(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run without Slurm that has started; it fills the time in which the others wait."""
    run = Run(tmp_path_factory.mktemp("local") / "run", cluster)
    run.start("--cores", "1")
    yield run
    run.driver.terminate()
    run.driver.wait()


@pytest.fixture(scope="module")
def story(cluster: Cluster, profile: str, local: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A run on Slurm: a job is cancelled, the driver is killed, the next one finishes."""
    run = Run(tmp_path_factory.mktemp("slurm") / "run", cluster)
    try:
        run.start(profile, *QUICK)
        cancelled = run.pause_after_a_batch()
        cluster.ask("scancel", cancelled.job_id)
        orphan = run.pause_after_a_batch(cancelled.comment)
        second = run(profile)
        run.kill()
        killed_log = run.log()
        stale = run(profile)
        assert run("--unlock", "--cores", "1").returncode == 0
        run.start(profile, *QUICK)

        def submitted() -> bool:
            assert run.driver.poll() is None, run.log()[-4000:]
            return job_ids(cluster, orphan.comment)[-1] != orphan.job_id

        wait_until(submitted, PATIENCE, "the orphan has no successor")
        met = set(orphan.writers) & set(cluster.processes())
        run.finish()
        yield Story(run, cancelled, orphan, (killed_log, run.log()), second, stale, met)
    finally:
        run.kill()


def test_a_run_on_slurm_ends_in_the_table_of_a_local_one(story: Story, local: Run) -> None:
    local.finish()
    pd.testing.assert_frame_equal(story.run.table(), local.table())
    dry = story.run("--dry-run", "--cores", "2")
    assert "Nothing to be done" in dry.stdout + dry.stderr
    assert "provenance" not in dry.stdout + dry.stderr


def test_a_cancelled_job_is_started_again_and_keeps_its_batches(cluster: Cluster, story: Story) -> None:
    assert dict(cluster.jobs("%i|%T"))[story.cancelled.job_id] == "CANCELLED"
    assert f"SLURM-job '{story.cancelled.job_id}' failed, SLURM status is: 'CANCELLED'" in story.logs[0]
    assert "Trying to restart job" in story.logs[0]
    assert len(story.cancelled.batches) >= 1
    assert len(story.orphan.batches) > len(story.cancelled.batches)
    assert story.cancelled.batches.items() <= story.orphan.batches.items()


def test_a_killed_driver_leaves_no_job_that_writes_beside_its_successor(cluster: Cluster, story: Story) -> None:
    orphan = story.orphan
    listed = rf"A killed run left Slurm jobs for results; they are cancelled: .*{orphan.job_id} \(rule_generate"
    assert re.search(listed, story.logs[1])
    assert dict(cluster.jobs("%i|%T"))[orphan.job_id] == "CANCELLED"
    assert not story.met
    assert_one_at_a_time(cluster)
    finished = story.run.batches(orphan.comment)
    assert len(finished) == 3
    assert orphan.batches.items() <= finished.items()


def test_a_second_driver_is_refused_and_a_stale_lock_explained(story: Story) -> None:
    first, _ = story.run.drivers
    assert story.second.returncode != 0
    assert re.search(rf"process {first.pid} .* at work in results.*kill -INT {first.pid}", story.second.stderr)
    assert story.stale.returncode != 0
    assert re.search(rf"process {first.pid} .* was killed.*--unlock", story.stale.stderr)


def test_jobs_ask_for_what_their_rule_needs(cluster: Cluster, story: Story) -> None:
    asked: dict[str, list[dict[str, str]]] = {}
    for job in cluster.ask("scontrol", "--oneliner", "show", "job").splitlines():
        fields = dict(field.split("=", 1) for field in job.split() if "=" in field)
        asked.setdefault(re.match(r"rule_(\w+?)(_wildcards|$)", fields["Comment"])[1], []).append(fields)
    for rule in ("calibrate", "generate"):
        assert {(job["Partition"], job["TresPerJob"]) for job in asked[rule]} == {("gpu", "gres:gpu:toy:1")}, rule
    for rule in ("prompts", "quantize", "scores_score", "report"):
        assert {(job["Partition"], "TresPerJob" in job) for job in asked[rule]} == {("cpu", False)}, rule
    assert len(asked["scores_score"]) == 1  # of three
    memory = {job["JobId"]: job["MinMemoryNode"] for job in asked["generate"]}
    assert (memory[story.cancelled.job_id], memory[story.orphan.job_id]) == ("16000M", "32000M")
    minutes = {job["JobId"]: job["TimeLimit"] for job in asked["generate"]}
    assert (minutes[story.cancelled.job_id], minutes[story.orphan.job_id]) == ("00:15:00", "00:30:00")


def assert_one_at_a_time(cluster: Cluster) -> None:
    """No two jobs of one shard overlapped."""
    spans: dict[str, list[tuple[str, str]]] = {}
    for comment, start, end in cluster.jobs("%k|%S|%e"):
        spans.setdefault(comment, []).append((start, end))
    for jobs in spans.values():
        ran = sorted(span for span in jobs if span[0] != "N/A")
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(ran)), jobs
