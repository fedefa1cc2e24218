"""Rule model_card: measures mini and its evaluators on held-out captions and writes card.json and card.md."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import audioptq.runs.job as job
from audioptq.files.artifacts import write_json, write_text
from audioptq.sampling.sampler import SamplerSettings
from audioptq.train.card import card_page, measure_card
from audioptq.train.publish import load_trained

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def write_card(
    networks: Sequence[str],
    sampler: SamplerSettings,
    training: Mapping[str, Any],
    *,
    record: str,
    page: str,
    log: Callable[[str], None],
) -> None:
    """Measures trained networks as `training` says under `card`, and writes what they are good for as a record and a page."""
    card = measure_card(load_trained(*networks), sampler, **training["card"])
    card |= {f"train_{network}_steps": training[network]["steps"] for network in ("dit", "tagger", "clap")}
    write_json(record, card, sealed=False)
    write_text(page, card_page(card))
    log(str(card))


if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        params, output = snakemake.params, snakemake.output
        sampler = SamplerSettings(**params.sampler)
        write_card(snakemake.input.networks, sampler, params.training, record=output.record, page=output.page, log=log)
