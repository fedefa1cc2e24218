"""Rule fetch_model: downloads configuration and weights of a model of the hub, pinned to the commit it first saw."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.fetch import hub

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def fetch_model(repo: str, revision: str, weights: str, log: Callable[[str], None]) -> None:
    """Downloads a model into the folder of the file `weights`."""
    model = hub.fetch_model(repo, revision, Path(weights).parent, Path(weights).name)
    log(f"{repo} at {revision}: commit {model.commit}, {model.weights} verified")


if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        params = snakemake.params
        fetch_model(params.repo, params.revision, snakemake.output.weights, log)
