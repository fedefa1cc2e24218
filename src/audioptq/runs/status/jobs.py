"""Jobs that failed, from the log of the snakemake that runs or ran last."""

import re
from dataclasses import dataclass
from pathlib import Path

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


def driver_log(directory: Path) -> str:
    """Text of Snakemake's newest log that is of a run; empty if there is none."""
    for path in sorted((directory / ".snakemake" / "log").glob("*.snakemake.log"), reverse=True):
        text = path.read_text(encoding="utf-8", errors="replace")
        if "\nSelect jobs to execute" in text:  # not a report's or a clean-up's
            return text
    return ""


def failed_jobs(text: str, directory: Path) -> list[FailedJob]:
    """Jobs that a log of Snakemake reports as failed, without those that a retry has mended."""
    jobs = {}
    for rule, body in ERROR.findall(text):
        output, log = _first(body, "output"), _first(body, "log")
        if output and not (directory / output).exists():
            jobs[output] = FailedJob(rule, output, log, _reason(directory / log) if log else SILENT)
    return list(jobs.values())


def steps(text: str) -> tuple[int, int] | None:
    """Jobs that are done and jobs that were planned; None before the first is done."""
    found = STEPS.findall(text)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def _first(body: str, key: str) -> str:
    """The first file that an entry of an error block names."""
    found = re.search(rf"^ {{4}}{key}: (.*?)(?:, | \(check log|$)", body, re.MULTILINE)
    return found[1] if found else ""


def _reason(log: Path) -> str:
    """The last line of a job's log: the paragraph for the user, or the end of a traceback."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return re.sub(r"^\d\d:\d\d:\d\d ", "", lines[-1]) if lines else SILENT
