"""What the workflow asks Slurm itself: which jobs of an earlier driver are left, and how jobs ended."""

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audioptq.errors import UserError

RUN_ID = re.compile(r"SLURM run ID: (\S+)")
SECONDS_TO_END = 300.0


@dataclass(frozen=True)
class SlurmJob:
    """A job that is queued or running."""

    job_id: str
    state: str
    what: str

    def __str__(self) -> str:
        return f"{self.job_id} ({self.what}, {self.state.lower()})"


def run_id_of(logs: Sequence[str]) -> str | None:
    """The name that all Slurm jobs of a driver carry, from Snakemake's own log of it; None if it runs its jobs itself."""
    found = RUN_ID.search("".join(Path(log).read_text(encoding="utf-8") for log in logs))
    return found[1] if found else None


def queued(run_id: str) -> list[SlurmJob]:
    """Jobs of a driver that are queued or running.

    Raises:
        UserError: If Slurm cannot be asked; the text says why, and nothing else.
    """
    if shutil.which("squeue") is None:
        raise UserError("this machine has no squeue")
    command = ["squeue", "--noheader", f"--name={run_id}", "--format=%i|%T|%k"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode != 0:
        raise UserError(" ".join(answer.stderr.split()))
    return [SlurmJob(*line.split("|", 2)) for line in answer.stdout.splitlines()]


def cancel(run_id: str, jobs: Sequence[SlurmJob]) -> None:
    """Cancels jobs and waits until none of the driver's is left: a job that is told to end still writes for a moment.

    Raises:
        UserError: If they do not end.
    """
    subprocess.run(["scancel", *(job.job_id for job in jobs)], check=False)
    given_up = time.monotonic() + SECONDS_TO_END
    while left := queued(run_id):
        if time.monotonic() > given_up:
            raise UserError(
                f"Slurm jobs {', '.join(job.job_id for job in left)} of a killed run were cancelled and do not end. Ask "
                f"`squeue` why; start again when they are gone."
            )
        time.sleep(1)


def status_command() -> str:
    """The command that tells how Slurm's jobs ended: sacct on a cluster that keeps accounts, else squeue."""
    if shutil.which("scontrol") is None:
        return "squeue"
    answer = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True)
    return "sacct" if re.search(r"AccountingStorageType\s*= accounting_storage/slurmdbd", answer.stdout) else "squeue"
