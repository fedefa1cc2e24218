"""Rule embed_references: embeds the reference audio of a data set with each evaluator whose metrics compare with it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.embed.to_file import EvaluatorFiles, evaluators_of, write_clip_embeddings
from audioptq.files.artifacts import read_parquet
from audioptq.references.locate import locate

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def embed_references(prompts: str, downloaded: str | None, outputs: Mapping[str, EvaluatorFiles]) -> None:
    """Embeds the references of the table `prompts`, those of the manifest `downloaded` if given, into each path of `outputs`."""
    table, _ = read_parquet(prompts)
    named = locate(table, downloaded).rename(columns={"reference_path": "path", "reference_sha256": "sha256"})
    clips = named.assign(listed_in=prompts)[["clip_id", "path", "sha256", "listed_in"]].to_dict("records")
    for path, evaluator in outputs.items():
        write_clip_embeddings(path, evaluator, clips, f"embed references with {evaluator.name}")


if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads):
        files = dict(snakemake.input.items())
        outputs = dict(zip(snakemake.output, evaluators_of(files, snakemake.params.evaluators), strict=True))
        embed_references(files["prompts"], files["references"] or None, outputs)
