"""Rule generate: loads a quantized model from its file alone and generates one shard of clips."""

from pathlib import Path
from typing import TYPE_CHECKING

from audioptq.files.artifacts import digest, file_digest, read_parquet, write_parquet
from audioptq.generate.load import open_generator
from audioptq.generate.shard import GenerationSettings, generate_shard
from audioptq.models.registry import folder_of
from audioptq.runs import job
from audioptq.sampling.sampler import SamplerSettings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        params, wildcards, weights = snakemake.params, snakemake.wildcards, snakemake.input.weights
        text_encoder = snakemake.input.get("text_encoder") or []
        made = open_generator(weights, folder_of(text_encoder), compute=params.compute, batch_size=params.batch_size)
        model, recipe = made.model, made.recipe
        files = {"code": snakemake.input.code} | ({"text_encoder": text_encoder} if text_encoder else {})
        made_from = {name: digest([file_digest(path) for path in paths]) for name, paths in files.items()}
        log(made.note)
        made_from |= {"recipe": recipe.digest, "weights": file_digest(weights), "compute": digest(made.backends)}
        sampler = SamplerSettings(**params.sampler)
        settings = GenerationSettings(sampler, int(wildcards.seed), params.batch_size, params.bit_depth, made_from)
        prompts, _ = read_parquet(snakemake.input.prompts)
        first = int(wildcards.shard) * params.clips_per_shard
        clips_dir = Path(snakemake.output[0]).parent / "clips"
        manifest, metadata = generate_shard(
            model, prompts.iloc[first : first + params.clips_per_shard], settings,
            clips_dir=clips_dir, shard=f"shard-{wildcards.shard}",
        )  # fmt: skip
        names = {"model": wildcards.model, "recipe": wildcards.recipe, "compute": made.compute}
        write_parquet(snakemake.output[0], manifest, {**metadata, **names})
        counts = manifest["status"].value_counts().to_dict()
        log(f"{len(manifest)} clips on {model.device}, {manifest['seconds'].mean():.2f} s each; {counts}")
