"""Rule merge_calibration: makes one set of activation ranges of those of all shards."""

from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.calibrate.act_stats import ActStats
from audioptq.calibrate.merge import merge_stats

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        shards = [ActStats.load(path) for path in snakemake.input.shards]
        merge_stats(shards).save(snakemake.output[0])
        log(f"{len(shards)} shards")
