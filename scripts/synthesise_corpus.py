"""Rule synthesise_corpus: renders one shard of the training corpus."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.train.corpus import synthesise_shard

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def synthesise_corpus(shard: int, corpus: Mapping[str, int], output: str) -> None:
    """Renders a shard of a corpus of `n_clips` in `shards`, drawn from `seed`."""
    per_shard = -(-corpus["n_clips"] // corpus["shards"])
    first = shard * per_shard
    n_clips = min(per_shard, corpus["n_clips"] - first)
    synthesise_shard(output, split="train", first=first, n_clips=n_clips, seed=corpus["seed"])


if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads):
        shard = int(snakemake.wildcards.corpus_shard)
        synthesise_corpus(shard, snakemake.params.corpus, snakemake.output[0])
