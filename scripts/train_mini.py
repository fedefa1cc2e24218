"""Rule train_mini: publishes the trained networks and their card to the model's directory."""

from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.train.publish import publish

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        files = snakemake.input
        publish(*files.networks, card=files.card, page=files.page, directory=snakemake.params.model)
        log(f"published to {snakemake.params.model}")
