"""Rule embed_clips: embeds the clips of a recipe and seed."""

from typing import TYPE_CHECKING

import torch

from audioptq.artifacts import write_tensors
from audioptq.audio.manifest import read_manifest
from audioptq.console import job_log
from audioptq.embed.run import embed_clips, load_evaluator

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        evaluator = load_evaluator(snakemake.wildcards.embedder, snakemake.input.weights)
        manifest = read_manifest(snakemake.input.manifests)
        clips = manifest[["clip_id", "path", "status"]].to_dict("records")
        tensors, metadata = embed_clips(evaluator, clips, f"embed {snakemake.wildcards.recipe}")
        write_tensors(snakemake.output[0], tensors, metadata)
