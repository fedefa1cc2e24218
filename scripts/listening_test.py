"""Rule listening_test: builds a blind listening test of the finished run."""

from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.listen.build import TestSettings, build_test

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        folder = Path(snakemake.output[0]).parent  # in the folder of results
        build_test(folder.parent, folder / "test", TestSettings(**snakemake.params.settings), log)
