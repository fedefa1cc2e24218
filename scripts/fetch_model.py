"""Rule fetch_model: downloads configuration and weights of a model of the hub, pinned to the commit it first saw."""

from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.fetch.hub import fetch_model

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        output, params = snakemake.output, snakemake.params
        model = fetch_model(params.repo, params.revision, Path(output.config).parent, Path(output.weights).name)
        log(f"{params.repo} at {params.revision}: commit {model.commit}, {model.weights} verified")
