"""Rule embed_references: embeds the reference audio of a data set."""

from typing import TYPE_CHECKING

from audioptq.embed.cache import cached_rows, evaluator_digest, keep
from audioptq.embed.run import embed_clips, load_evaluator
from audioptq.files.artifacts import read_parquet, write_tensors
from audioptq.machine.device import best_device
from audioptq.references.locate import locate
from audioptq.runs import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads):
        name, params, output = snakemake.wildcards.embedder, snakemake.params, snakemake.output[0]
        files = dict(zip(params.weights, snakemake.input.weights, strict=True))
        evaluator = load_evaluator(name, files, params.variant, best_device())
        made_by = evaluator_digest(name, params.variant, snakemake.input.weights, snakemake.input.code)
        prompts, _ = read_parquet(snakemake.input.prompts)
        prompts = locate(prompts, snakemake.input.get("references"))
        named = prompts.rename(columns={"reference_path": "path", "reference_sha256": "sha256"})
        clips = named.assign(listed_in=snakemake.input.prompts)[["clip_id", "path", "sha256", "listed_in"]].to_dict(
            "records"
        )
        tensors, metadata = embed_clips(name, evaluator, clips, "embed references", cached_rows(output, made_by))
        write_tensors(output, tensors, {**metadata, "made_by": made_by})
        keep(output)
