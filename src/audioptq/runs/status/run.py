"""The state of a whole run, recipe by recipe."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from audioptq.errors import UserError
from audioptq.runs.status.clips import ClipSet, read_clip_set
from audioptq.runs.status.jobs import FailedJob, driver_log, failed_jobs, steps


@dataclass(frozen=True)
class RunStatus:
    """Sets of clips by name, jobs that failed, and how many jobs are done of those planned (None if unknown)."""

    sets: list[ClipSet]
    failed: list[FailedJob]
    jobs: tuple[int, int] | None


def run_status(results: str | Path, directory: str | Path = ".") -> RunStatus:
    """Reads how far a run is.

    Args:
        results: The config's `results`, counted from `directory`.
        directory: Where snakemake was started, whose own logs are there.

    Raises:
        UserError: If `results` holds no run.
    """
    directory = Path(directory)
    folder = directory / results
    if not any((folder / stage).is_dir() for stage in ("prompts", "quantize", "generate")):
        raise UserError(
            f"{folder} holds no run: prompts, quantize and generate are all absent. Name the folder that the config calls "
            "`results`, and with --directory the one in which snakemake was started."
        )
    total = _n_prompts(folder / "prompts")
    log = driver_log(directory)
    failed = failed_jobs(log, directory)
    sets = []
    stages = (folder / "quantize", folder / "generate")
    for recipe in sorted({path.relative_to(stage) for stage in stages for path in stage.glob("*/*/")}):
        seeds = [path for path in sorted((stages[1] / recipe).glob("seed*")) if path.name[4:].isdigit()]
        sets += [read_clip_set(seed, stages[0] / recipe, total) for seed in seeds]
        if not seeds:
            sets.append(ClipSet(recipe.parent.name, recipe.name, None, total=total))
    for clips in sets:
        clips.failures.update(_failures_of(clips, failed))
    return RunStatus(sets, failed, steps(log))


def _n_prompts(folder: Path) -> int | None:
    """Prompts of the data set that was prepared last."""
    tables = [path for path in folder.glob("[!.]*.parquet") if not path.name.endswith(".calibration.parquet")]
    newest = max(tables, key=lambda path: path.stat().st_mtime, default=None)
    return pq.read_metadata(newest).num_rows if newest else None


def _failures_of(clips: ClipSet, failed: list[FailedJob]) -> Counter[str]:
    place = f"/{clips.model}/{clips.recipe}/" + ("" if clips.seed is None else f"seed{clips.seed}/")
    return Counter(f"failed {job.rule}" for job in failed if place in job.output)
