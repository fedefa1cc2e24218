"""Plans on the Slurm cluster of one machine: the shipped profile with a site's own lines changed, and what fails there."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.workspace import Workspace
from tests.workflow_run import REPOSITORY

SITE = {"processors": 2, "gpu_model": "toy"}
# A cluster of one machine answers at once.
QUICK = ["--slurm-init-seconds-before-status-checks", "13", "--latency-wait", "15"]


def move_to(space: Workspace, cluster: Any) -> None:
    """Lets the workspace's jobs run on a cluster (`tests.slurm.cluster.Cluster`)."""
    content = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    content["__variables__"] |= SITE
    profile = space.folder / "profile/config.yaml"
    profile.parent.mkdir()
    profile.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    space.arguments = [f"--workflow-profile={profile}", *QUICK]
    space.environment = cluster.environment


def job_cancelled(space: Workspace, draw: random.Random) -> str:
    driver = space.start()
    _, job_id = _some_job(space, driver, draw)
    if job_id is not None:
        subprocess.run(["scancel", job_id], env=space.environment, check=True)
    assert driver.wait() == 0, space.text()[-3000:]
    return f"job {job_id}" if job_id else "the run was over first"


def worker_killed(space: Workspace, draw: random.Random) -> str:
    driver = space.start()
    pid, job_id = _some_job(space, driver, draw)
    if job_id is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert driver.wait() == 0, space.text()[-3000:]
    return f"job {job_id}" if job_id else "the run was over first"


def driver_killed(space: Workspace, draw: random.Random) -> str:
    driver = space.start()
    _, job_id = _some_job(space, driver, draw)
    driver.kill()
    driver.wait()
    return f"job {job_id}" if job_id else "the run was over first"


DISTURBANCES = {"job cancelled": job_cancelled, "worker killed": worker_killed, "driver killed": driver_killed}


def _some_job(space: Workspace, driver: "subprocess.Popen[bytes]", draw: random.Random) -> tuple[int, str | None]:
    """A worker and Slurm's number of its job, in the worker's first second."""
    pid = space.await_worker(driver, draw.choice([0, 0, 1]))
    if pid is None:
        return 0, None
    job_id = _job_of(pid)
    time.sleep(draw.uniform(0, 1))
    return pid, job_id


def _job_of(pid: int) -> str | None:
    """Slurm's number of the job that a process belongs to; None if it has ended."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((entry.partition(b"=")[2].decode() for entry in variables if entry.startswith(b"SLURM_JOB_ID=")), None)
