"""The state of a whole run, recipe by recipe, and the jobs that failed in the snakemake that runs or ran last."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from audioptq.errors import UserError
from audioptq.runs.status.clips import ClipSet, read_clip_set, read_table

ERROR = re.compile(r"^Error in rule (\w+):\n((?: {4}.*\n)+)", re.MULTILINE)
STEPS = re.compile(r"^(\d+) of (\d+) steps", re.MULTILINE)
SILENT = "it left no word in its log, as a job that is killed or cancelled or runs out of memory or time"


@dataclass(frozen=True)
class FailedJob:
    """A job that failed and whose output is still not there."""

    rule: str
    output: str
    log: str
    reason: str


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
    quantize, generate = folder / "quantize", folder / "generate"
    if not any(stage.is_dir() for stage in (folder / "prompts", quantize, generate)):
        raise UserError(
            f"{folder} holds no run: prompts, quantize and generate are all absent. Name the folder that the config calls "
            "`results`, and with --directory the one in which snakemake was started."
        )
    log, total = _driver_log(directory), _n_prompts(folder / "prompts")
    failed, sets = _failed_jobs(log, directory), []
    for recipe in sorted({path.relative_to(stage) for stage in (quantize, generate) for path in stage.glob("*/*/")}):
        seeds = [path for path in sorted((generate / recipe).glob("seed*")) if path.name[4:].isdigit()]
        sets += [read_clip_set(seed, quantize / recipe, total) for seed in seeds]
        if not seeds:
            sets.append(ClipSet(recipe.parent.name, recipe.name, None, total=total))
    for clips in sets:
        place = f"/{clips.model}/{clips.recipe}/" + ("" if clips.seed is None else f"seed{clips.seed}/")
        clips.failures.update(Counter(f"failed {job.rule}" for job in failed if place in job.output))
    steps = STEPS.findall(log)
    return RunStatus(sets, failed, (int(steps[-1][0]), int(steps[-1][1])) if steps else None)


def _n_prompts(folder: Path) -> int | None:
    """Prompts of the data set that was prepared last; None if there are none that can be read."""
    tables = [path for path in folder.glob("[!.]*.parquet") if not path.name.endswith(".calibration.parquet")]
    newest = read_table(max(tables, key=lambda path: path.stat().st_mtime))[0] if tables else None
    return None if newest is None else newest.num_rows


def _driver_log(directory: Path) -> str:
    """Text of Snakemake's newest log that is of a run; empty if there is none."""
    for path in sorted((directory / ".snakemake" / "log").glob("*.snakemake.log"), reverse=True):
        text = path.read_text(encoding="utf-8", errors="replace")
        if "\nSelect jobs to execute" in text:  # not a report's or a clean-up's
            return text
    return ""


def _failed_jobs(text: str, directory: Path) -> list[FailedJob]:
    """Jobs that a log of Snakemake reports as failed, without those that a retry has mended."""
    jobs = {}
    for rule, body in ERROR.findall(text):
        output, log = _first(body, "output"), _first(body, "log")
        if output and not (directory / output).exists():
            jobs[output] = FailedJob(rule, output, log, _reason(directory / log))
    return list(jobs.values())


def _first(body: str, key: str) -> str:
    """The first file that an entry of an error block names."""
    found = re.search(rf"^ {{4}}{key}: (.*?)(?:, | \(check log|$)", body, re.MULTILINE)
    return found[1] if found else ""


def _reason(log: Path) -> str:
    """The last line of a job's log: the paragraph for the user, or the end of a traceback."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return re.sub(r"^\d\d:\d\d:\d\d ", "", lines[-1]) if lines else SILENT
