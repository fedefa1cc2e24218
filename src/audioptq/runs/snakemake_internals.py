"""All that the workflow asks of Snakemake beyond its documented interface, in one place (docs/decisions/0013-snakemake-internals.md).

Snakemake's objects are handed in by rules/common.smk: the library does not import it.
"""

import os
from typing import Any


def is_driver(workflow: Any) -> bool:
    """Whether this process starts the run's jobs, and is none of them."""
    return bool(workflow.is_main_process)


def record_unattended(workflow: Any, since: float | None) -> None:
    """Notes how files were made that jobs of a killed driver have finished after its death.

    Snakemake leaves that to the driver, and would see no later change of the config for them.

    Args:
        workflow: Snakemake's, when its jobs are planned.
        since: When the killed driver began, in seconds since the epoch; None if there is nothing to note.
    """
    if since is None:
        return
    for job in workflow.dag.jobs:
        files = [file for file in job.output if os.path.exists(file)]
        is_unattended = files and min(map(os.path.getmtime, files)) >= since
        if is_unattended and not workflow.dag.needrun(job) and not workflow.persistence.has_metadata(job):
            workflow.async_run(workflow.persistence.finished(job))
