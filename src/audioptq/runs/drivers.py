"""One driver at a time per results folder: jobs that a killed one left in Slurm's queue are cancelled before the next submits.

A driver is the snakemake process that starts jobs. It leaves a record beside Snakemake's lock: where it runs and the name that
all its Slurm jobs carry. Snakemake's lock refuses a second driver; a killed one leaves its lock, its record and its jobs behind.
"""

import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from audioptq.errors import UserError
from audioptq.files.artifacts import digest, read_json, write_json
from audioptq.runs import slurm

RECORDS = Path(".snakemake/drivers")
LOCKS = Path(".snakemake/locks")


@dataclass(frozen=True)
class Driver:
    """A snakemake process that starts jobs.

    Attributes:
        host: Machine it runs on.
        pid: Its process there.
        started: Clock ticks between the machine's start and its own: with `pid`, of no other process.
        run_id: Name of its Slurm jobs; None if it runs its jobs itself.
        config: Digest of its configuration.
        since: When it began, in seconds since the epoch.
    """

    host: str
    pid: int
    started: str
    run_id: str | None
    config: str
    since: float

    def is_alive(self) -> bool:
        """Whether it is at work on this machine; nobody can tell from another one."""
        return self.host == socket.gethostname() and self.started != "" and self.started == _started(self.pid)


def claim(results: str, logs: Sequence[str], config: Mapping[str, Any]) -> float | None:
    """Makes this process the driver of a results folder; called when Snakemake holds its lock and has started no job.

    Args:
        results: The folder.
        logs: Snakemake's own log of this run, which names its Slurm jobs.
        config: The run's configuration.

    Returns:
        When the driver before this one began, in seconds since the epoch, if it was killed and had the same configuration: what
        its jobs have finished since, this run would have made the same way. Else None.

    Raises:
        UserError: If another driver is at work, or what a killed one left in Slurm's queue cannot be found or does not end.
    """
    earlier = _read(results)
    if earlier is not None and earlier.is_alive():
        raise UserError(
            f"Another snakemake (process {earlier.pid}) is at work in {results}, though its lock is gone: wait until it has "
            f"finished or stop it with `kill -INT {earlier.pid}`, and start again. Never unlock a folder that is worked in."
        )
    left = orphans(results)
    if earlier is not None and earlier.run_id is not None and left:
        listed = ", ".join(map(str, left))
        print(f"A killed run left Slurm jobs for {results}; they are cancelled: {listed}", file=sys.stderr)
        slurm.cancel(earlier.run_id, left)
    pid = os.getpid()
    driver = Driver(socket.gethostname(), pid, _started(pid), slurm.run_id_of(logs), digest(config), time.time())
    RECORDS.mkdir(parents=True, exist_ok=True)
    write_json(_record(results), asdict(driver), sealed=False)  # a person may have to mend it
    return earlier.since if earlier is not None and earlier.config == driver.config else None


def release(results: str) -> None:
    """Ends the claim; a driver that leaves jobs in Slurm's queue, or cannot ask, leaves its record to the next."""
    try:
        left = orphans(results)
    except UserError:
        return
    if not left:
        _record(results).unlink(missing_ok=True)


def orphans(results: str) -> list[slurm.SlurmJob]:
    """Jobs of the folder's earlier driver that are still queued or running.

    Raises:
        UserError: If Slurm cannot be asked.
    """
    earlier = _read(results)
    if earlier is None or earlier.run_id is None:
        return []
    try:
        return slurm.queued(earlier.run_id)
    except UserError as error:
        raise UserError(
            f"Jobs of a killed run for {results} may still be at work, and Slurm cannot be asked: {error}. Start again where "
            f"`squeue` works; if you know that none of them is left, delete {_record(results)} first."
        ) from error


def explain(results: str, workdir: str) -> None:
    """Says on standard error whose lock there is, if another driver's, and what to do; called when a snakemake ends.

    Snakemake's own words for a refused driver name neither who holds the lock nor where, and offer to remove it.

    Args:
        results: The results folder.
        workdir: What it is counted from; when it ends, snakemake is no longer there.
    """
    try:
        with chdir(workdir):
            driver, is_locked = _read(results), LOCKS.is_dir() and any(LOCKS.iterdir())
    except UserError:  # a damaged record: `claim` has said so
        return
    here = socket.gethostname()
    if driver is None or (driver.host, driver.pid) == (here, os.getpid()) or not (is_locked or driver.is_alive()):
        return
    who = f"snakemake (process {driver.pid} on {driver.host})"
    unlock = (
        "start once with --unlock added, then as before: jobs that it left in Slurm's queue are cancelled first, and what is "
        "finished is kept."
    )
    if driver.is_alive():
        text = (
            f"{who} is at work in {results}, and no other may start beside it. Wait until it has finished, or end it with "
            f"`kill -INT {driver.pid}` and start again. Do not unlock the folder."
        )
    elif driver.host == here:
        text = f"the {who} that was at work in {results} was killed; its lock is left. To go on, {unlock}"
    else:
        text = (
            f"{who} has locked {results}. Whether it is still at work can be seen on {driver.host} alone: "
            f"`ssh {driver.host} ps -p {driver.pid}`. If it is, wait, or end it there with `kill -INT {driver.pid}`. If it is "
            f"gone, or its machine is, {unlock}"
        )
    print(f"\nNote: {text}\n", file=sys.stderr)


def _started(pid: int) -> str:
    """When a process of this machine started, in clock ticks; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _record(results: str) -> Path:
    return RECORDS / f"{quote(results, safe='')}.json"


def _read(results: str) -> Driver | None:
    return Driver(**read_json(_record(results), foreign=True)) if _record(results).exists() else None
