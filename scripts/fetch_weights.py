"""Rule fetch_weights: downloads one file of workflow/weights.tsv, or finds it in place, and verifies it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.errors import UserError
from audioptq.fetch.download import download
from audioptq.fetch.weights import weights_entries

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def fetch_weights(table: str, name: str, output: str, log: Callable[[str], None]) -> None:
    """Downloads the file that the row `name` of a table describes to `output`, which ends as the row says."""
    entries = weights_entries(table)
    if name not in entries:
        raise UserError(f"{table} has no row {name!r}; it has {', '.join(entries)}.")
    path = download(entries[name], output.removesuffix(entries[name].file))
    log(f"{path}: {path.stat().st_size} bytes, verified")


if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        fetch_weights(snakemake.params.table, snakemake.params.name, snakemake.output[0], log)
