"""One plan from its seed to the last check."""

import shutil
from dataclasses import dataclass
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
    """How a plan went: what each disturbance hit, or why the plan was skipped."""

    plan: Plan
    notes: list[str]
    skipped: str = ""


def run_plan(plan: Plan, undisturbed: Run, folder: Path, cluster: Any = None, no_cluster: str = "") -> Outcome:
    """Runs a plan in `folder`, which is removed afterwards.

    Args:
        plan: The plan.
        undisturbed: The finished run that it starts from.
        folder: A new one, as deep as that of `undisturbed`: inputs are named relative to it.
        cluster: Where the plans on Slurm run; None if there is none.
        no_cluster: Why.
    """
    on_tmpfs = "disk full" in plan.kinds
    if on_tmpfs and not can_mount():
        return Outcome(plan, [], "a disk to fill needs the right to mount one")
    if plan.on_slurm and cluster is None:
        return Outcome(plan, [], no_cluster)
    outcome = Outcome(plan, [])
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
    return outcome


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
