"""Rule embed_clips: embeds a shard of the clips of a recipe and seed, which may be several of generation."""

from typing import TYPE_CHECKING

from audioptq.audio.manifest import read_manifest
from audioptq.embed.cache import cached_rows, evaluator_digest, keep
from audioptq.embed.run import embed_clips, load_evaluator
from audioptq.files.artifacts import write_tensors
from audioptq.machine.device import best_device
from audioptq.runs import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads):
        name, params, output = snakemake.wildcards.embedder, snakemake.params, snakemake.output[0]
        files = dict(zip(params.weights, snakemake.input.weights, strict=True))
        evaluator = load_evaluator(name, files, params.variant, best_device())
        made_by = evaluator_digest(name, params.variant, snakemake.input.weights, snakemake.input.code)
        clips = read_manifest(snakemake.input.manifests).to_dict("records")
        description = f"embed {snakemake.wildcards.recipe}"
        tensors, metadata = embed_clips(name, evaluator, clips, description, cached_rows(output, made_by))
        write_tensors(output, tensors, {**metadata, "made_by": made_by})
        keep(output)
