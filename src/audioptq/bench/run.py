"""Runs the bench and writes what it found: tables, a page and figures."""

import os
import time
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.bench.figures import ratios, roofline
from audioptq.bench.measure import Row, Start, Turns
from audioptq.bench.plan import BenchSettings, Case
from audioptq.bench.process import FormError, WorkerProcess
from audioptq.bench.table import as_frame, as_markdown, finished
from audioptq.console import progress
from audioptq.errors import UserError
from audioptq.files.artifacts import write_parquet, write_text
from audioptq.sampling.sampler import SamplerSettings

STEPS, PROFILE, PAGE, ROOFLINE, RATIOS = "steps.parquet", "profile.parquet", "bench.md", "roofline.svg", "ratios.svg"
FILES = (STEPS, PROFILE, PAGE, ROOFLINE, RATIOS)
PROFILE_KEYS = ["model", "form", "compute", "latents", "batch"]


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
    holder = start(None, settings.threads)
    turns: Turns | None = None
    try:
        found = _described(holder)
        asked = {name: getattr(settings, name) for name in ("repeats", "sampler", "limit_seconds", "threads", "seed")}
        metadata = {**found, "date": time.strftime("%Y-%m-%d"), "load_before": os.getloadavg(), **asked}
        jobs = [(model, form) for model in settings.models for form in settings.forms]
        for model, form in progress(jobs, "bench", unit="form"):
            if turns is None or turns.model != model:
                if turns is not None:
                    turns.close()
                turns = Turns(settings, model, found["device"], start, str(output / "quantized"))
            for row in turns.rows(form):
                counts = turns.counts.get(Case(row["latents"], row["batch"], row["what"]))
                rows.append(finished(row, form, counts, settings.seed))
                seconds = row.get("profile", {})
                common = {name: row[name] for name in PROFILE_KEYS}
                total = sum(seconds.values())
                shares += [{**common, "kind": k, "seconds": s, "share": s / total} for k, s in seconds.items()]
            table, profile = as_frame(rows), pd.DataFrame(shares, columns=[*PROFILE_KEYS, "kind", "seconds", "share"])
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


def _described(holder: Any) -> dict[str, Any]:
    try:
        return dict(holder.ask("machine"))
    except FormError as error:
        raise UserError(f"The bench cannot measure what this machine does at best: {error}.") from error
