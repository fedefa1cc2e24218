"""The state of a run in words: a table for a terminal, a line per set for anything else."""

from collections.abc import Iterator

from audioptq.runs.status.clips import ClipSet
from audioptq.runs.status.run import RunStatus

HEADER = ("model", "recipe", "seed", "clips", "rate", "time left", "failures")
MAX_JOBS = 10


def as_table(status: RunStatus) -> Iterator[str]:
    """Aligned columns."""
    rows = [HEADER, *(_cells(clips) for clips in status.sets)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield from _rest(status)


def as_lines(status: RunStatus) -> Iterator[str]:
    """A line per set."""
    for clips in status.sets:
        model, recipe, seed, done, rate, left, failures = _cells(clips)
        words = [f"{done} clips", rate, f"{left} left" if clips.seconds_left else left, failures]
        yield f"{model} {recipe} seed {seed}: " + ", ".join(word for word in words if word)
    yield from _rest(status)


def _rest(status: RunStatus) -> Iterator[str]:
    """The whole run, and what failed."""
    rate, left = sum(clips.rate or 0 for clips in status.sets), sum(clips.left for clips in status.sets)
    ends = f", {rate:.2f} clips/s, {duration(left / rate)} left" if rate and left else ""
    yield f"all: {sum(clips.done for clips in status.sets)} clips done, {left} to do{ends}"
    if status.jobs:
        yield "jobs: {} of {} done in the newest run of snakemake".format(*status.jobs)
    for job in status.failed[:MAX_JOBS]:
        yield f"failed: {job.rule} of {job.output}: {job.reason}" + (f" ({job.log})" if job.log else "")
    if len(status.failed) > MAX_JOBS:
        yield f"and {len(status.failed) - MAX_JOBS} more failed jobs"


def _cells(clips: ClipSet) -> tuple[str, ...]:
    """Of `HEADER`; empty where there is nothing to say."""
    rate = f"{clips.rate:.2f} clips/s" if clips.rate and clips.left else ""
    left = "finished" if clips.done and not clips.left else "waiting"
    left = duration(clips.seconds_left) if clips.seconds_left else left
    failures = ", ".join(f"{count} {kind}" for kind, count in sorted(clips.failures.items()))
    seed, total = "-" if clips.seed is None else str(clips.seed), "?" if clips.total is None else clips.total
    return clips.model, clips.recipe, seed, f"{clips.done}/{total}", rate, left, failures


def duration(seconds: float) -> str:
    """Two units at most: 45 s, 12 min, 3 h 5 min, 2 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    days, hours = divmod(minutes // 60, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"
