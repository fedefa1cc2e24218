"""Rule merge_calibration: makes one set of activation ranges of those of all shards."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.calibrate.act_stats import ActStats
from audioptq.calibrate.merge import merge_stats

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def merge_calibration(shards: Sequence[str], output: str) -> None:
    """Merges the statistics of `shards` into one file."""
    merge_stats([ActStats.load(path) for path in shards]).save(output)


if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        merge_calibration(snakemake.input.shards, snakemake.output[0])
        log(f"{len(snakemake.input.shards)} shards")
