"""Rule score: computes every metric of one recipe and seed."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import audioptq.runs.job as job
from audioptq.audio.manifest import read_manifest
from audioptq.files.artifacts import read_parquet, write_parquet
from audioptq.runs.plan import embeddings_by_evaluator
from audioptq.score.run import score_metrics

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def score(
    outputs: Mapping[str, str],
    inputs: Mapping[str, Any],
    *,
    bootstrap: Mapping[str, int],
    across_seeds: bool,
    names: Mapping[str, Any],
    log: Callable[[str], None],
) -> None:
    """Scores a recipe and seed.

    Args:
        outputs: Metric -> file.
        inputs: Files by name, as `Plan.score_inputs` names them, and `prompts`.
        bootstrap: `replicates` and `seed`.
        across_seeds: Whether full precision has another seed.
        names: Written into the metadata of each file.
        log: Writes a line to the log.
    """
    baseline: Sequence[str] | None = inputs.get("baseline")
    tables = score_metrics(
        list(outputs),
        manifest=read_manifest(inputs["manifests"]),
        prompts=read_parquet(inputs["prompts"])[0],
        embeddings=embeddings_by_evaluator(inputs),
        baseline=None if baseline is None else read_manifest(baseline),
        n_replicates=bootstrap["replicates"],
        seed=bootstrap["seed"],
        across_seeds=across_seeds,
    )
    for metric, path in outputs.items():
        table, metadata = tables[metric]
        write_parquet(path, table, {**metadata, **names})
        log(f"{metric}: {metadata['n_scored']} of {metadata['n_clips']} clips scored")


if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        params, wildcards = snakemake.params, snakemake.wildcards
        seed = int(wildcards.seed)
        score(
            dict(zip(params.metrics, snakemake.output, strict=True)),
            dict(snakemake.input.items()),
            bootstrap=params.bootstrap,
            across_seeds=params.across_seeds,
            names={"model": wildcards.model, "recipe": wildcards.recipe, "seed": seed},
            log=log,
        )
