"""Rule published_references: converts published statistics of a data set's references for one evaluator."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.embed.published import convert
from audioptq.files.artifacts import read_parquet, write_tensors

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def convert_published(published: str, embedder: str, prompts: str, output: str, log: Callable[[str], None]) -> None:
    """Converts the statistics of a file, of the references of the table `prompts`, into an embedding file."""
    table, _ = read_parquet(prompts)
    tensors, metadata = convert(published, embedder, table)
    write_tensors(output, tensors, metadata)
    log(f"{len(metadata['clip_ids'])} of {len(table)} clips" if "clip_ids" in metadata else "mean and covariance")


if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        files = snakemake.input
        convert_published(files.published, snakemake.wildcards.embedder, files.prompts, snakemake.output[0], log)
