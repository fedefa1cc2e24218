"""Rule published_references: converts published statistics of a data set's references for one evaluator."""

from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.embed.published import convert
from audioptq.files.artifacts import read_parquet, write_tensors

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        prompts, _ = read_parquet(snakemake.input.prompts)
        tensors, metadata = convert(snakemake.input.published, snakemake.wildcards.embedder, prompts)
        write_tensors(snakemake.output[0], tensors, metadata)
        log(f"{len(metadata['clip_ids'])} of {len(prompts)} clips" if "clip_ids" in metadata else "mean and covariance")
