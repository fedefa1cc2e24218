"""Rule embed_captions: embeds the captions of a data set with each evaluator whose metrics compare with them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.embed.to_file import EvaluatorFiles, evaluators_of, write_caption_embeddings
from audioptq.files.artifacts import read_parquet

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def embed_captions(prompts: str, outputs: Mapping[str, EvaluatorFiles]) -> None:
    """Embeds the captions of the table `prompts` into each path of `outputs`."""
    table, _ = read_parquet(prompts)
    for path, evaluator in outputs.items():
        write_caption_embeddings(path, evaluator, table["clip_id"].tolist(), table["caption"].tolist())


if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads):
        evaluators = evaluators_of(dict(snakemake.input.items()), snakemake.params.evaluators)
        embed_captions(snakemake.input.prompts, dict(zip(snakemake.output, evaluators, strict=True)))
