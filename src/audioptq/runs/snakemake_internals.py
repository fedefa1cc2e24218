"""All that the workflow asks of Snakemake beyond its documented interface, in one place (docs/decisions/0013-snakemake-internals.md).

Snakemake's objects are handed in by rules/common.smk: the library does not import it.
"""

import os
from collections import Counter
from pathlib import Path
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


def may_fork(workflow: Any) -> bool:
    """Whether this process may have its jobs forked: it is the driver, and they run in the Python that is at work here."""
    return is_driver(workflow) and not workflow.deployment_settings.deployment_method


def repeated_scripts(workflow: Any) -> list[str]:
    """Names of the scripts of which several jobs will run on this machine; none if jobs run elsewhere, or are only touched.

    Args:
        workflow: Snakemake's, when a run begins: before, it does not know where jobs will run.
    """
    if not workflow.local_exec or workflow.touch:
        return []
    jobs = Counter(Path(job.rule.script).name for job in workflow.dag.needrun_jobs() if job.rule.script)
    return [script for script, count in jobs.items() if count > 1]
