"""Rule calibrate: runs full precision on a shard of the calibration prompts and writes activation statistics."""

from pathlib import Path
from typing import TYPE_CHECKING

from audioptq.calibrate.run import calibrate
from audioptq.files.artifacts import read_parquet, write_tensors
from audioptq.machine.device import best_device
from audioptq.models.registry import folder_of, open_model
from audioptq.runs import job
from audioptq.sampling.sampler import SamplerSettings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        output, params = snakemake.output, snakemake.params
        prompts, _ = read_parquet(snakemake.input.prompts)
        first = int(snakemake.wildcards.shard) * params.prompts_per_shard
        prompts = prompts.iloc[first : first + params.prompts_per_shard]
        text_encoder = folder_of(snakemake.input.get("text_encoder"))
        model = open_model(Path(snakemake.input.model[0]).parent, text_encoder).to(best_device())
        model.require_text_encoder()
        settings = SamplerSettings(**params.sampler)
        stats, activation = calibrate(model, prompts, settings=settings, seed=params.seed, batch_size=params.batch_size)
        stats.save(output.stats)
        layer = stats.metadata["map_layer"]
        tensors = {"activation": activation, "weight": model.network.get_submodule(layer).weight}
        record = {"layer": layer, "level": stats.metadata["map_level"], "step": settings.steps // 2}
        write_tensors(output.map, tensors, {**record, "n_steps": settings.steps, "alpha": 0.5})
        log(f"{len(prompts)} prompts; observing took {stats.metadata['overhead']:.1%} of the time of generating")
