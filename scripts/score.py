"""Rule score: computes one metric of one recipe and seed."""

from typing import TYPE_CHECKING

from audioptq.audio.manifest import read_manifest
from audioptq.files.artifacts import read_parquet, write_parquet
from audioptq.runs import job
from audioptq.score.run import TARGET_FILES, score_metrics
from audioptq.score.table import metric_info

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        inputs, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
        prompts, _ = read_parquet(inputs.prompts)
        seed, info = int(wildcards.seed), metric_info(wildcards.metric)
        files = {"generated": inputs.get("generated"), TARGET_FILES.get(info.target): inputs.get("target")}
        scored = score_metrics(
            [wildcards.metric],
            manifest=read_manifest(inputs.manifests),
            prompts=prompts,
            embeddings={info.embedder: files} if info.embedder else {},
            baseline=read_manifest(inputs.baseline) if "baseline" in inputs.keys() else None,
            n_replicates=params.bootstrap["replicates"],
            seed=params.bootstrap["seed"],
            across_seeds=seed == params.noise_floor_seed,
        )
        table, metadata = scored[wildcards.metric]
        names = {"model": wildcards.model, "recipe": wildcards.recipe, "seed": seed}
        write_parquet(snakemake.output[0], table, {**metadata, **names})
        log(f"{metadata['n_scored']} of {metadata['n_clips']} clips scored")
