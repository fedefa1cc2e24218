"""Rule embed_clips: embeds a shard of the clips of a recipe and seed, which may be several of generation, with each evaluator."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.audio.manifest import read_manifest
from audioptq.embed.to_file import EvaluatorFiles, evaluators_of, write_clip_embeddings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def embed_shard(
    manifests: Sequence[str], outputs: Mapping[str, EvaluatorFiles], description: str, log: Callable[[str], None]
) -> None:
    """Embeds the clips of `manifests` into each path of `outputs` with its evaluator."""
    clips = read_manifest(manifests).to_dict("records")
    for path, evaluator in outputs.items():
        is_new = write_clip_embeddings(path, evaluator, clips, f"{description} with {evaluator.name}")
        log(f"{evaluator.name}: {len(clips)} clips" if is_new else f"{evaluator.name}: nothing has changed")


if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        evaluators = evaluators_of(dict(snakemake.input.items()), snakemake.params.evaluators)
        outputs = dict(zip(snakemake.output, evaluators, strict=True))
        embed_shard(snakemake.input.manifests, outputs, f"embed {snakemake.wildcards.recipe}", log)
