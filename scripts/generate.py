"""Rule generate: loads a quantized model from its file alone and generates one shard of clips."""

from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.files.artifacts import digest, file_digest, read_parquet, write_parquet
from audioptq.generate.compute import use_compute
from audioptq.generate.load import load_generator
from audioptq.generate.shard import GenerationSettings, generate_shard
from audioptq.machine.device import best_device
from audioptq.models.stable_audio.files import folder_of
from audioptq.models.stable_audio.once import readers_summary
from audioptq.sampling.sampler import SamplerSettings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        params, wildcards, weights = snakemake.params, snakemake.wildcards, snakemake.input.weights
        text_encoder = snakemake.input.get("text_encoder") or []
        model, recipe = load_generator(weights, folder_of(text_encoder), batch_size=params.batch_size)
        files = {"code": snakemake.input.code} | ({"text_encoder": text_encoder} if text_encoder else {})
        made_from = {name: digest([file_digest(path) for path in paths]) for name, paths in files.items()}
        model = model.to(best_device())
        # Not among `params`, since it changes no bit of a clip: a change of these runs the rule again.
        keep_weights = snakemake.config["generation"]["keep_weights"]
        compute, layers, line = use_compute(model.network, recipe, params.compute, keep_weights)
        log(f"{line}; {readers_summary(model.network)}")
        made_from |= {"recipe": recipe.digest, "weights": file_digest(weights), "compute": digest(layers)}
        sampler = SamplerSettings(**params.sampler)
        settings = GenerationSettings(sampler, int(wildcards.seed), params.batch_size, params.bit_depth, made_from)
        prompts, _ = read_parquet(snakemake.input.prompts)
        first = int(wildcards.shard) * params.clips_per_shard
        clips_dir = Path(snakemake.output[0]).parent / "clips"
        manifest, metadata = generate_shard(
            model, prompts.iloc[first : first + params.clips_per_shard], settings,
            clips_dir=clips_dir, shard=f"shard-{wildcards.shard}",
        )  # fmt: skip
        names = {"model": wildcards.model, "recipe": wildcards.recipe, "compute": compute}
        write_parquet(snakemake.output[0], manifest, {**metadata, **names})
        counts = manifest["status"].value_counts().to_dict()
        log(f"{len(manifest)} clips on {model.device}, {manifest['seconds'].mean():.2f} s each; {counts}")
