"""Snakemake, but the pause between its questions to Slurm does not grow: by ten seconds each it would be most of a test's time."""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

SECONDS = 4
pause = RemoteExecutor.next_seconds_between_status_checks


def set_pause(executor: RemoteExecutor, seconds: float) -> None:
    pause.fset(executor, min(seconds, SECONDS))


if __name__ == "__main__":
    RemoteExecutor.next_seconds_between_status_checks = pause.setter(set_pause)
    sys.exit(main())
