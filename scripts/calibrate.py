"""Rule calibrate: runs full precision on a shard of the calibration prompts and writes activation statistics."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.calibrate.observer import rows_of
from audioptq.calibrate.run import calibrate
from audioptq.files.artifacts import read_parquet, write_tensors
from audioptq.machine.device import best_device
from audioptq.models.base import AudioModel
from audioptq.models.registry import folder_of, open_model
from audioptq.sampling.sampler import SamplerSettings

if TYPE_CHECKING:
    import pandas as pd
    from snakemake.iocontainers import snakemake


def calibrate_shard(
    model: AudioModel,
    prompts: "pd.DataFrame",
    settings: SamplerSettings,
    *,
    seed: int,
    batch_size: int,
    statistics: Sequence[str],
    stats_path: str,
    map_path: str,
    log: Callable[[str], None],
) -> None:
    """Writes the statistics of these prompts, and the map of one layer's activations that the report draws."""
    model.require_text_encoder()
    stats, activation = calibrate(
        model, prompts, settings=settings, seed=seed, batch_size=batch_size, statistics=statistics
    )
    stats.save(stats_path)
    layer = stats.metadata["map_layer"]
    kind = next(site.kind for site in model.sites() if site.name == layer)
    tensors = {"activation": activation, "weight": rows_of(model.network.get_submodule(layer).weight, kind)}
    record = {"layer": layer, "level": stats.metadata["map_level"], "step": settings.steps // 2}
    write_tensors(map_path, tensors, {**record, "n_steps": settings.steps, "alpha": 0.5})
    log(f"{len(prompts)} prompts; observing took {stats.metadata['overhead']:.1%} of the time of generating")


if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        files, params = snakemake.input, snakemake.params
        prompts, _ = read_parquet(files.prompts)
        first = int(snakemake.wildcards.shard) * params.prompts_per_shard
        calibrate_shard(
            open_model(folder_of(files.model), folder_of(files.get("text_encoder"))).to(best_device()),
            prompts.iloc[first : first + params.prompts_per_shard],
            SamplerSettings(**params.sampler),
            seed=params.seed,
            batch_size=params.batch_size,
            statistics=params.statistics,
            stats_path=snakemake.output.stats,
            map_path=snakemake.output.map,
            log=log,
        )
