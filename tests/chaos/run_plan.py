"""One plan from its seed to the last check."""

import shutil
from dataclasses import dataclass
from pathlib import Path

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


def run_plan(plan: Plan, undisturbed: Run, folder: Path) -> Outcome:
    """Runs a plan in `folder`, which is removed afterwards."""
    on_tmpfs = "disk full" in plan.kinds
    if on_tmpfs and not can_mount():
        return Outcome(plan, [], "a disk to fill needs the right to mount one")
    outcome = Outcome(plan, [])
    with workspace(undisturbed, folder, on_tmpfs) as space:
        remove_part(space, plan)
        for step, kind in enumerate(plan.kinds):
            space.remember()
            outcome.notes.append(DISTURBANCES[kind](space, plan.random(step)))
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
