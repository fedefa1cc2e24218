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

from audioptq.errors import UserError
from audioptq.files.artifacts import read_parquet, read_tensor_metadata

DONE = re.compile(r"^\S+ done in ([0-9.]+) s$")
STAGES = ("prompts", "calibrate", "quantize", "generate", "embed_clips", "embed_captions", "score", "report")


@dataclass(frozen=True)
class MeasuredJob:
    """A finished job.

    Attributes:
        rule: Its rule.
        started, ended: Seconds since the epoch, as Snakemake saw it: Python's start and the imports are within.
        own: Seconds of the stage's own work.
        size: Clips that it looked at; of generation and calibration clips times denoising steps, of quantizing 0.
    """

    rule: str
    started: float
    ended: float
    own: float
    size: int


@dataclass(frozen=True)
class Cost:
    """Seconds of a job's own work, `fixed + each * size`: `size` as in `MeasuredJob`."""

    fixed: float
    each: float

    def of(self, size: int) -> float:
        """Seconds of a job of that size."""
        return self.fixed + self.each * size


@dataclass(frozen=True)
class Costs:
    """What a run is made of.

    Attributes:
        stages: Cost of a job of each rule.
        start: Seconds of a job that are not its own work: Python's start, the imports, the end.
        latency: Seconds between the end of a job and the start of the next in its place.
    """

    stages: dict[str, Cost]
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
    stages = {rule: _fit([job for job in jobs if job.rule == rule]) for rule in STAGES}
    start = float(np.median([job.ended - job.started - job.own for job in jobs]))
    latency = float(np.median([gap for run in runs for gap in _gaps(run)] or [0.0]))
    return Costs(stages, start, latency)


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
                jobs[log] = MeasuredJob(record["rule"], *times, _size(record["rule"], log, folder))
    missing = set(STAGES) - {job.rule for job in jobs.values()} - {"embed_clips", "embed_captions"}
    if missing:
        raise UserError(
            f"The logs of {folder} do not say how long {', '.join(sorted(missing))} took: they were removed, or left by an "
            "earlier version. Run snakemake again with another `results`, and name that."
        )
    return sorted(jobs.values(), key=lambda job: job.started)


def _size(rule: str, log: Path, folder: Path) -> int:
    """Size of a job, from the file whose place among the results is that of its log among the logs."""
    beside = folder / log.relative_to(folder / "logs")
    if rule == "quantize":
        return 0
    if rule == "calibrate":
        record = read_tensor_metadata(beside.with_suffix(".safetensors"))
        return len(record["clip_ids"]) * int(record["sampler"]["steps"])
    if rule == "generate":
        manifest, metadata = read_parquet(beside.with_suffix(".parquet"))
        return len(manifest) * int(metadata["sampler"]["steps"])
    if rule == "embed_clips":
        return len(read_tensor_metadata(beside.with_suffix(".safetensors"))["clip_ids"])
    prompts = [path for path in (folder / "prompts").glob("[!.]*.parquet") if ".calibration" not in path.suffixes]
    return pq.read_metadata(prompts[0]).num_rows


def _fit(jobs: Sequence[MeasuredJob]) -> Cost:
    """Least squares with neither part below zero; where all jobs are of one size all of it grows, an upper bound."""
    if not jobs:
        return Cost(0.0, 0.0)
    seconds, sizes = np.array([job.own for job in jobs]), np.array([job.size for job in jobs])
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
