"""Rule train_network: trains mini's DiT with its conditioners, the tagger, or the contrastive pair."""

from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.train.corpus import Corpus
from audioptq.train.dit import train_dit
from audioptq.train.evaluators import train_clap, train_tagger
from audioptq.train.loop import TrainSettings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

TRAINERS = {"dit": train_dit, "tagger": train_tagger, "clap": train_clap}

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        params = snakemake.params
        trainer = TRAINERS[snakemake.wildcards.network]
        corpus = Corpus.load(snakemake.input.corpus)
        trainer(corpus, snakemake.output[0], params.checkpoint, TrainSettings(**params.settings), log)
