"""What jobs cost, read from finished runs: Snakemake's record of each job, its log, and the manifests of its clips."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.optimize import nnls

from audioptq.artifacts import read_parquet
from audioptq.errors import UserError

DONE = re.compile(r"^\S+ done in ([0-9.]+) s$")
STAGES = ("prompts", "calibrate", "quantize", "generate", "embed_clips", "embed_captions", "score", "report")


@dataclass(frozen=True)
class MeasuredJob:
    """A finished job.

    Attributes:
        rule: Its rule.
        started, ended: Seconds since the epoch, as Snakemake saw it: Python's start and the imports are within.
        own: Seconds of the stage's own work.
        size: Clips that it made or looked at; of calibration prompts times steps, of quantizing 0.
        sampled: Seconds of `own` in which clips were generated, and their denoising steps in all.
    """

    rule: str
    started: float
    ended: float
    own: float
    size: int
    sampled: tuple[float, int] = (0.0, 0)


@dataclass(frozen=True)
class Cost:
    """Seconds of a job's own work, `fixed + each * size`: size counts clips, and for calibration prompts times steps."""

    fixed: float
    each: float

    def of(self, size: int) -> float:
        """Seconds of a job of that size."""
        return self.fixed + self.each * size


@dataclass(frozen=True)
class Costs:
    """What a run is made of.

    Attributes:
        stages: Cost of a job of each rule; of `generate` only what comes on top of its clips, such as loading the model.
        clip_step: Seconds to generate a clip, per denoising step.
        start: Seconds of a job that are not its own work: Python's start, the imports, the end.
        latency: Seconds between the end of a job and the start of the next in its place.
    """

    stages: dict[str, Cost]
    clip_step: float
    start: float
    latency: float


def measure(folders: Sequence[str | Path]) -> Costs:
    """Costs of the jobs of finished runs of one model on one kind of machine; runs of different sizes tell what grows.

    Args:
        folders: What each config calls `results`, in or below the folder in which snakemake was started.

    Raises:
        UserError: If a folder holds no finished run.
    """
    runs = [measured_jobs(folder) for folder in folders]
    jobs = [job for run in runs for job in run]
    clips = [job for job in jobs if job.rule == "generate"]
    clip_step = sum(job.sampled[0] for job in clips) / sum(job.sampled[1] for job in clips)
    stages = {rule: _fit([job for job in jobs if job.rule == rule]) for rule in STAGES}
    start = float(np.median([job.ended - job.started - job.own for job in jobs]))
    latency = float(np.median([gap for run in runs for gap in _gaps(run)] or [0.0]))
    return Costs(stages, clip_step, start, latency)


def measured_jobs(folder: str | Path) -> list[MeasuredJob]:
    """The jobs behind the files of a results folder, in order of their start.

    Raises:
        UserError: If there are none, or not of every stage.
    """
    folder = Path(folder).resolve()
    home = next((parent for parent in folder.parents if (parent / ".snakemake/metadata").is_dir()), None)
    if home is None or not (folder / "report").is_dir():
        raise UserError(
            f"{folder} holds no finished run: there must be a report in it, and .snakemake in the folder in which snakemake was "
            "started. Name what the config calls `results` after a run to its end."
        )
    jobs: dict[Path, MeasuredJob] = {}
    for path in (home / ".snakemake/metadata").iterdir():
        record = json.loads(path.read_text(encoding="utf-8"))
        log = home / (record.get("log") or ["."])[0]
        if record.get("rule") in STAGES and log.is_relative_to(folder / "logs") and log.is_file():
            own = DONE.match((log.read_text(encoding="utf-8").splitlines() or [""])[-1])
            if own:
                times = (record["starttime"], record["endtime"], float(own[1]))
                jobs[log] = MeasuredJob(record["rule"], *times, *_size(record["rule"], log, folder))
    missing = set(STAGES) - {job.rule for job in jobs.values()} - {"embed_clips", "embed_captions"}
    if missing:
        raise UserError(
            f"The logs of {folder} do not say how long {', '.join(sorted(missing))} took: they were removed, or left by an "
            "earlier version. Run snakemake again with another `results`, and name that."
        )
    return sorted(jobs.values(), key=lambda job: job.started)


def _size(rule: str, log: Path, folder: Path) -> tuple[int, tuple[float, int]]:
    """Size of a job, from the files beside its log, and what it sampled."""
    prompts = {path.suffixes[0] == ".calibration": path for path in (folder / "prompts").glob("[!.]*.parquet")}
    manifests = [*folder.glob("generate/*/*/*/shard-????.parquet")]
    if rule == "quantize":
        return 0, (0.0, 0)
    if rule == "calibrate":
        return pq.read_metadata(prompts[True]).num_rows * _sampled(manifests[0])[2], (0.0, 0)
    if rule in ("generate", "embed_clips"):
        # logs/generate/{model}/{recipe}/{seed}/{shard}.log, logs/embed/{model}/{recipe}/{seed}/{embedder}/{shard}.log
        model, recipe, seed = log.relative_to(folder / "logs").parts[1:4]
        n_clips, seconds, steps = _sampled(folder / "generate" / model / recipe / seed / f"{log.stem}.parquet")
        return n_clips, (seconds, n_clips * steps) if rule == "generate" else (0.0, 0)
    return pq.read_metadata(prompts[False]).num_rows, (0.0, 0)


def _sampled(manifest: Path) -> tuple[int, float, int]:
    """Clips of a shard, seconds that they took, denoising steps of each."""
    frame, metadata = read_parquet(manifest, ["seconds"])
    return len(frame), float(frame["seconds"].sum()), int(metadata["sampler"]["steps"])


def _fit(jobs: Sequence[MeasuredJob]) -> Cost:
    """Least squares with neither part below zero; where all jobs are of one size all of it grows, an upper bound."""
    if not jobs:
        return Cost(0.0, 0.0)
    # A resumed shard took less time than its clips did.
    seconds = np.array([max(job.own - job.sampled[0], 0.0) for job in jobs])
    sizes = np.array([0 if job.rule == "generate" else job.size for job in jobs])
    if len(set(sizes)) == 1:
        return Cost(0.0, float(seconds.mean()) / sizes[0]) if sizes[0] else Cost(float(seconds.mean()), 0.0)
    (fixed, each), _ = nnls(np.column_stack([np.ones(len(sizes)), sizes]), seconds)
    return Cost(float(fixed), float(each))


def _gaps(jobs: Sequence[MeasuredJob]) -> Iterator[float]:
    """Time from the last end of a job to each start that follows it at once: what the scheduler takes."""
    ends: defaultdict[float, int] = defaultdict(int)
    for job in jobs:
        before = max(
            (other.ended for other in jobs if other.ended <= job.started and not ends[other.ended]), default=None
        )
        if before is not None:
            ends[before] += 1
            yield job.started - before
