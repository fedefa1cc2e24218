"""Rule bench: measures a denoising step of each model in every form, in turns, and writes tables, a page and figures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import audioptq.runs.job as job
from audioptq.bench.plan import BenchModel, BenchSettings, choose_forms
from audioptq.bench.run import run_bench

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def settings_of(
    bench: Mapping[str, Any],
    models: Mapping[str, Any],
    recipes: Mapping[str, Any],
    sampler: Mapping[str, Any],
    threads: int,
) -> BenchSettings:
    """What is measured, from the config's `bench`, its models (folder, weights, text_encoder), `recipes` and `sampler`."""
    return BenchSettings(
        models=tuple(BenchModel(name, **entry) for name, entry in models.items()),
        forms=choose_forms(bench["forms"], recipes),
        latents=tuple(bench["latents"]),
        batches=tuple(bench["batch"]),
        repeats=bench["repeats"],
        sampler={**sampler, "steps": bench["steps"]},
        limit_seconds=bench["limit_seconds"],
        threads=threads,
    )


def measure(settings: BenchSettings, page: Path, log: Callable[[str], None]) -> None:
    """Writes the tables and figures beside `page`, and prints the page."""
    table = run_bench(settings, page.parent)
    log(f"{table['reason'].isna().sum()} of {len(table)} rows measured")
    print(page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        params = snakemake.params
        settings = settings_of(params.bench, params.models, params.recipes, params.sampler, snakemake.threads)
        measure(settings, Path(snakemake.output.page), log)
