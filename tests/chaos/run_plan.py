"""One plan from its seed to the last check."""

import shutil
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import slurm
from tests.chaos.checks import check
from tests.chaos.disturb import DISTURBANCES
from tests.chaos.plan import Plan
from tests.chaos.resume import resume, unlock
from tests.chaos.workspace import Workspace, can_mount, workspace
from tests.workflow_run import TIMING, Run


@dataclass
class Outcome:
    """How a plan went.

    Attributes:
        plan: Which.
        notes: What each disturbance hit.
        skipped: Why it could not be tried.
        failure: What did not hold, or what broke.
        seconds: It took.
    """

    plan: Plan
    notes: list[str] = field(default_factory=list)
    skipped: str = ""
    failure: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        how = self.skipped or ("FAILED" if self.failure else "passed")
        return (
            f"plan {self.plan.seed}: {how}, {self.seconds:.0f} s: {self.plan} ({'; '.join(filter(None, self.notes))})"
        )


def try_plan(plan: Plan, undisturbed: Run, folder: Path, cluster: Any = None, no_cluster: str = "") -> Outcome:
    """Runs a plan as `run_plan` does, and takes a failure for an outcome."""
    outcome, started = Outcome(plan), time.monotonic()
    try:
        outcome.skipped = run_plan(outcome, undisturbed, folder, cluster, no_cluster)
    except Exception:
        outcome.failure = traceback.format_exc()
    outcome.seconds = time.monotonic() - started
    return outcome


def run_plan(outcome: Outcome, undisturbed: Run, folder: Path, cluster: Any, no_cluster: str) -> str:
    """Runs a plan in `folder`, which is removed afterwards; why not, if it cannot be.

    Args:
        outcome: With the plan; gets the notes.
        undisturbed: The finished run that it starts from.
        folder: A new one, as deep as that of `undisturbed`: inputs are named relative to it.
        cluster: Where the plans on Slurm run; None if there is none.
        no_cluster: Why.
    """
    plan, on_tmpfs = outcome.plan, "disk full" in outcome.plan.kinds
    if on_tmpfs and not can_mount():
        return "a disk to fill needs the right to mount one"
    if plan.on_slurm and cluster is None:
        return no_cluster
    with workspace(undisturbed, folder, on_tmpfs) as space:
        remove_part(space, plan)
        if plan.on_slurm:
            slurm.move_to(space, cluster)
        disturbances = slurm.DISTURBANCES if plan.on_slurm else DISTURBANCES
        for step, kind in enumerate(plan.kinds):
            space.remember()
            outcome.notes.append(disturbances[kind](space, plan.random(step)))
            unlock(space)
        space.remember()
        resume(space)
        check(space, undisturbed.table().drop(columns=TIMING))
    return ""


def remove_part(space: Workspace, plan: Plan) -> None:
    """Removes the report and the later stages of the plan's recipe; of its clips the first batch of a shard is kept."""
    shutil.rmtree(space.results / "report")
    stages = ["score", "embed", "generate", "quantize"]
    for stage in stages[: stages.index(plan.depth) + 1]:
        folder = space.results / stage / "mini" / plan.recipe
        if stage != "generate":
            shutil.rmtree(folder)
            continue
        for manifest in folder.glob("seed1000/shard-*.parquet"):
            manifest.unlink()
        for record in folder.glob("seed1000/clips/*-batch-*.parquet"):
            if "shard-0000-batch-000" not in record.name:
                record.unlink()
