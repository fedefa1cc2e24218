"""Rule model_card: measures mini and its evaluators on held-out captions and writes card.json and card.md."""

from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.files.artifacts import write_json, write_text
from audioptq.sampling.sampler import SamplerSettings
from audioptq.train.card import card_page, measure_card
from audioptq.train.publish import load_trained

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        params = snakemake.params
        trained = load_trained(*snakemake.input.networks)
        card = measure_card(trained, SamplerSettings(**params.sampler), **params.card)
        card |= {f"train_{network}_steps": params.training[network]["steps"] for network in ("dit", "tagger", "clap")}
        write_json(snakemake.output.record, card, sealed=False)
        write_text(snakemake.output.page, card_page(card))
        log(str(card))
