"""Runs the bench and writes what it found: tables, a page and figures."""

import os
import time
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.bench.figures import ratios, roofline
from audioptq.bench.measure import Row, Start, Turns
from audioptq.bench.plan import BenchSettings
from audioptq.bench.process import FormError, WorkerProcess
from audioptq.bench.table import as_frame, as_markdown, finished
from audioptq.console import progress
from audioptq.errors import UserError
from audioptq.files.artifacts import write_parquet, write_text
from audioptq.sampling.sampler import SamplerSettings

STEPS, PROFILE, PAGE, ROOFLINE, RATIOS = "steps.parquet", "profile.parquet", "bench.md", "roofline.svg", "ratios.svg"
FILES = (STEPS, PROFILE, PAGE, ROOFLINE, RATIOS)
PROFILE_COLUMNS = ["model", "form", "compute", "latents", "batch", "kind", "seconds", "share"]


def run_bench(settings: BenchSettings, output: str | Path, start: Start = WorkerProcess) -> pd.DataFrame:
    """Measures every form of every model and writes `FILES`.

    Tables are written anew after each form, so that a run that is stopped leaves what it had.

    Args:
        settings: What is measured.
        output: Folder for the files; quantized models are kept below it, to be used again.
        start: Starts a worker on a device.

    Returns:
        The table of `steps.parquet` (docs/benchmarks.md says what its columns mean).

    Raises:
        UserError: If the sampler's settings are not legal, or a model's full-precision form cannot run.
    """
    SamplerSettings(**settings.sampler)
    output = Path(output)
    rows: list[Row] = []
    shares: list[Row] = []
    # It stays to the end: where there are several GPUs, it holds the one that all workers share.
    holder = start(None)
    turns: Turns | None = None
    try:
        found = _described(holder, settings)
        metadata = {**found, "date": time.strftime("%Y-%m-%d"), "load_before": os.getloadavg(), **_asked(settings)}
        jobs = [(model, form) for model in settings.models for form in settings.forms]
        for model, form in progress(jobs, "bench", unit="form"):
            if turns is None or turns.model != model:
                if turns is not None:
                    turns.close()
                turns = Turns(settings, model, found["device"], start, str(output / "quantized"))
            for row in turns.rows(form):
                rows.append(finished(row, turns.counts, settings))
                shares += _shares(row)
            table, profile = as_frame(rows), pd.DataFrame(shares, columns=PROFILE_COLUMNS)
            metadata["load_after"] = os.getloadavg()
            write_parquet(output / STEPS, table, metadata)
            write_parquet(output / PROFILE, profile, metadata)
    finally:
        if turns is not None:
            turns.close()
        holder.close()
    write_text(output / PAGE, as_markdown(table, profile, metadata))
    roofline(output / ROOFLINE, table, metadata["ceilings"])
    ratios(output / RATIOS, table)
    return table


def _described(holder: Any, settings: BenchSettings) -> dict[str, Any]:
    try:
        return dict(holder.ask("machine", threads=settings.threads))
    except FormError as error:
        raise UserError(f"The bench cannot measure what this machine does at best: {error}.") from error


def _asked(settings: BenchSettings) -> dict[str, Any]:
    names = ("repeats", "sampler", "limit_seconds", "threads", "seed")
    return {name: getattr(settings, name) for name in names}


def _shares(row: Row) -> list[Row]:
    seconds = row.get("profile", {})
    total = sum(seconds.values())
    common = {name: row[name] for name in PROFILE_COLUMNS[:5]}
    return [{**common, "kind": kind, "seconds": part, "share": part / total} for kind, part in seconds.items()]
