"""Rule listening_test: builds a blind listening test of the finished run."""

from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.listen.build import TestSettings, build_test

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        params = snakemake.params
        build_test(params.results, params.folder, TestSettings(**params.settings), log)
