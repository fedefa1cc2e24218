"""Rule embed_captions: embeds the captions of a data set."""

from typing import TYPE_CHECKING

import torch

from audioptq.artifacts import read_parquet, write_tensors
from audioptq.console import job_log
from audioptq.embed.run import embed_captions, load_evaluator

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        evaluator = load_evaluator(snakemake.wildcards.embedder, snakemake.input.weights)
        prompts, _ = read_parquet(snakemake.input.prompts)
        tensors, metadata = embed_captions(evaluator, prompts["clip_id"], prompts["caption"])
        write_tensors(snakemake.output[0], tensors, metadata)
