"""Rule fetch_weights: downloads one file of workflow/weights.tsv, or finds it in place, and verifies it."""

from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.errors import UserError
from audioptq.fetch.download import download
from audioptq.fetch.weights import weights_entries

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        params = snakemake.params
        entries = weights_entries(params.table)
        if params.name not in entries:
            raise UserError(f"{params.table} has no row {params.name!r}; it has {', '.join(entries)}.")
        entry = entries[params.name]
        path = download(entry, snakemake.output[0].removesuffix(entry.file))
        log(f"{path}: {path.stat().st_size} bytes, verified")
