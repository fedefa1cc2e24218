# How jobs that run on this machine start: forked from one process that has imported what they need; no rules.
# The prefix takes scripts alone: a shell command of several words or lines would not survive it.
import secrets
from collections import Counter
from pathlib import Path

from snakemake.shell import shell

from audioptq.runs import forkserver

FORKSERVER = f"audioptq-{os.getpid()}-{secrets.token_hex(8)}"
# What Snakemake puts before a script's first line imports these.
SNAKEMAKE_MODULES = ["snakemake.iocontainers", "snakemake.logging", "snakemake.script"]
JOBS_ARE_FORKED = (
    workflow.is_main_process
    and forkserver.can_fork()
    and not workflow.deployment_settings.deployment_method  # containers have a Python of their own
)

if JOBS_ARE_FORKED:
    command = forkserver.prefix(FORKSERVER).replace("{", "{{").replace("}", "}}")
    shell.prefix(f"set -euo pipefail; {command}")


def start_forkserver():
    """Starts the process that jobs are forked from, with what those import of which several run."""
    # Where jobs run is not known before a run begins. Without a server their commands do what they would without a prefix.
    if not JOBS_ARE_FORKED or not workflow.local_exec or workflow.touch:
        return
    jobs = Counter(
        job.rule.script for job in workflow.dag.needrun_jobs() if job.rule.script
    )
    scripts = [
        f"{workflow.basedir}/scripts/{Path(script).name}"
        for script, count in jobs.items()
        if count > 1
    ]
    if scripts:
        forkserver.start(FORKSERVER, [*SNAKEMAKE_MODULES, *scripts])
