"""Rule train_network: trains mini's DiT with its conditioners, the tagger, or the contrastive pair."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import audioptq.runs.job as job
from audioptq.train.corpus import Corpus
from audioptq.train.dit import train_dit
from audioptq.train.evaluators import train_clap, train_tagger
from audioptq.train.loop import TrainSettings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


TRAINERS = {"dit": train_dit, "tagger": train_tagger, "clap": train_clap}


def train_network(
    network: str,
    corpus: Sequence[str],
    output: str,
    checkpoint: str,
    settings: Mapping[str, Any],
    log: Callable[[str], None],
) -> None:
    """Trains one of `TRAINERS` on the shards of a corpus; a killed training goes on from its checkpoint."""
    TRAINERS[network](Corpus.load(corpus), output, checkpoint, TrainSettings(**settings), log)


if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        params, network = snakemake.params, snakemake.wildcards.network
        corpus, output = snakemake.input.corpus, snakemake.output[0]
        train_network(network, corpus, output, params.checkpoint, params.settings, log)
