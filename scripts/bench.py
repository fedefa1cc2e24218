"""Rule bench: measures a denoising step of each model in every form, in turns, and writes tables, a page and figures."""

from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.bench.plan import BenchModel, BenchSettings, choose_forms
from audioptq.bench.run import run_bench

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        params = snakemake.params
        settings = BenchSettings(
            models=tuple(BenchModel(name, **entry) for name, entry in params.models.items()),
            forms=choose_forms(params.bench["forms"], params.recipes),
            latents=tuple(params.bench["latents"]),
            batches=tuple(params.bench["batch"]),
            repeats=params.bench["repeats"],
            sampler=params.sampler | {"steps": params.bench["steps"]},
            limit_seconds=params.bench["limit_seconds"],
            threads=snakemake.threads,
        )
        table = run_bench(settings, Path(snakemake.output.steps).parent)
        log(f"{table['reason'].isna().sum()} of {len(table)} rows measured")
        print(Path(snakemake.output.page).read_text(encoding="utf-8"))
