"""The state of a run in words: a table for a terminal, a line per set for anything else."""

from collections.abc import Iterator

from audioptq.runs.status.clips import ClipSet
from audioptq.runs.status.run import RunStatus

HEADER = ("model", "recipe", "seed", "clips", "rate", "time left", "failures")
MAX_JOBS = 10


def as_table(status: RunStatus) -> Iterator[str]:
    """Aligned columns."""
    rows = [HEADER, *([clips.model, clips.recipe, _seed(clips), *_numbers(clips)] for clips in status.sets)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield from _rest(status)


def as_lines(status: RunStatus) -> Iterator[str]:
    """A line per set."""
    for clips in status.sets:
        done, rate, left, failures = _numbers(clips)
        words = [f"{done} clips", *([rate, f"{left} left"] if clips.seconds_left else [left]), failures]
        yield f"{clips.model} {clips.recipe} seed {_seed(clips)}: " + ", ".join(word for word in words if word)
    yield from _rest(status)


def _rest(status: RunStatus) -> Iterator[str]:
    """The whole run, and what failed."""
    rate = sum(clips.rate or 0 for clips in status.sets)
    left = sum(clips.left for clips in status.sets)
    yield f"all: {sum(clips.done for clips in status.sets)} clips done, {left} to do" + (
        f", {rate:.2f} clips/s, {duration(left / rate)} left" if rate and left else ""
    )
    if status.jobs:
        yield "jobs: {} of {} done in the newest run of snakemake".format(*status.jobs)
    for job in status.failed[:MAX_JOBS]:
        yield f"failed: {job.rule} of {job.output}: {job.reason}" + (f" ({job.log})" if job.log else "")
    if len(status.failed) > MAX_JOBS:
        yield f"and {len(status.failed) - MAX_JOBS} more failed jobs"


def _numbers(clips: ClipSet) -> tuple[str, str, str, str]:
    """Clips, rate, time left and failures; empty where there is nothing to say."""
    done = f"{clips.done}/{'?' if clips.total is None else clips.total}"
    rate = f"{clips.rate:.2f} clips/s" if clips.rate and clips.left else ""
    if clips.seconds_left:
        left = duration(clips.seconds_left)
    else:
        left = "finished" if clips.done and not clips.left else "waiting"
    return done, rate, left, ", ".join(f"{count} {kind}" for kind, count in sorted(clips.failures.items()))


def _seed(clips: ClipSet) -> str:
    return "-" if clips.seed is None else str(clips.seed)


def duration(seconds: float) -> str:
    """Two units at most: 45 s, 12 min, 3 h 5 min, 2 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
