"""Rule generate: loads a quantized model from its file alone and generates one shard of clips."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.files.artifacts import digest, file_digest, read_parquet, write_parquet
from audioptq.generate.load import open_generator
from audioptq.generate.shard import GenerationSettings, generate_shard
from audioptq.models.registry import folder_of
from audioptq.sampling.sampler import SamplerSettings

if TYPE_CHECKING:
    import pandas as pd
    from snakemake.iocontainers import snakemake


def generate(
    weights: str,
    prompts: "pd.DataFrame",
    manifest: Path,
    *,
    sampler: SamplerSettings,
    seed: int,
    batch_size: int,
    bit_depth: int,
    compute: str,
    text_encoder: Sequence[str],
    code: Sequence[str],
    names: Mapping[str, str],
    log: Callable[[str], None],
) -> None:
    """Generates the clips of a shard into `clips` beside its manifest, and takes back those that were made from the same.

    Args:
        weights: The quantized model.
        prompts: Of the shard.
        manifest: To write.
        sampler: Its settings.
        seed: Of the noise.
        batch_size: Clips per pass.
        bit_depth: Of the clips' files.
        compute: `simulated` or `integer`.
        text_encoder: Files of the text encoder, if that lies apart.
        code: The library files behind the clips.
        names: Written into the manifest's metadata.
        log: Writes a line to the log.
    """
    made = open_generator(weights, folder_of(text_encoder), compute=compute, batch_size=batch_size)
    log(made.note)
    files = {"code": code} | ({"text_encoder": text_encoder} if text_encoder else {})
    made_from = {name: digest([file_digest(path) for path in paths]) for name, paths in files.items()}
    made_from |= {"recipe": made.recipe.digest, "weights": file_digest(weights), "compute": digest(made.backends)}
    settings = GenerationSettings(sampler, seed, batch_size, bit_depth, made_from)
    clips_dir = manifest.parent / "clips"
    table, metadata = generate_shard(made.model, prompts, settings, clips_dir=clips_dir, shard=manifest.stem)
    write_parquet(manifest, table, {**metadata, **names, "compute": made.compute})
    counts = table["status"].value_counts().to_dict()
    log(f"{len(table)} clips on {made.model.device}, {table['seconds'].mean():.2f} s each; {counts}")


if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        files, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
        prompts, _ = read_parquet(files.prompts)
        first = int(wildcards.shard) * params.clips_per_shard
        generate(
            files.weights,
            prompts.iloc[first : first + params.clips_per_shard],
            Path(snakemake.output[0]),
            sampler=SamplerSettings(**params.sampler),
            seed=int(wildcards.seed),
            batch_size=params.batch_size,
            bit_depth=params.bit_depth,
            compute=params.compute,
            text_encoder=files.get("text_encoder") or [],
            code=files.code,
            names={"model": wildcards.model, "recipe": wildcards.recipe},
            log=log,
        )
