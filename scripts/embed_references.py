"""Rule embed_references: embeds the reference audio of a data set."""

from typing import TYPE_CHECKING

import torch

from audioptq.artifacts import read_parquet, write_tensors
from audioptq.console import job_log
from audioptq.embed.run import embed_clips, load_evaluator

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        evaluator = load_evaluator(snakemake.wildcards.embedder, snakemake.input.weights)
        prompts, _ = read_parquet(snakemake.input.prompts)
        clips = prompts.rename(columns={"reference_path": "path"})[["clip_id", "path"]].to_dict("records")
        tensors, metadata = embed_clips(evaluator, clips, "embed references")
        write_tensors(snakemake.output[0], tensors, metadata)
