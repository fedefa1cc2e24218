"""Rule embed_captions: embeds the captions of a data set."""

from typing import TYPE_CHECKING

from audioptq.embed.run import embed_captions, load_evaluator
from audioptq.files.artifacts import read_parquet, write_tensors
from audioptq.machine.device import best_device
from audioptq.runs import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads):
        name, params = snakemake.wildcards.embedder, snakemake.params
        files = dict(zip(params.weights, snakemake.input.weights, strict=True))
        evaluator = load_evaluator(name, files, params.variant, best_device())
        prompts, _ = read_parquet(snakemake.input.prompts)
        tensors, metadata = embed_captions(name, evaluator, prompts["clip_id"].tolist(), prompts["caption"].tolist())
        write_tensors(snakemake.output[0], tensors, metadata)
