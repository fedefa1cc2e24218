"""Rule synthesise_corpus: renders one shard of the training corpus."""

from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.train.corpus import synthesise_shard

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads):
        corpus = snakemake.params.corpus
        per_shard = -(-corpus["n_clips"] // corpus["shards"])
        first = int(snakemake.wildcards.corpus_shard) * per_shard
        n_clips = min(per_shard, corpus["n_clips"] - first)
        synthesise_shard(snakemake.output[0], split="train", first=first, n_clips=n_clips, seed=corpus["seed"])
