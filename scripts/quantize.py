"""Rule quantize: applies a recipe to the full-precision model and writes the quantized model, its layers and its size."""

from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.calibrate.act_stats import ActStats
from audioptq.files.artifacts import read_tensor_metadata, write_json, write_parquet
from audioptq.machine.device import best_device
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.quantize import QuantRecipe, quantize_model, save_quantized
from audioptq.quantize.file.origin import origin

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        output, wildcards = snakemake.output, snakemake.wildcards
        recipe = QuantRecipe.from_config(wildcards.recipe, snakemake.params.recipe)
        config, weights = snakemake.input.model
        model = StableAudioModel.load(Path(config).parent, text_dtype=recipe.text_dtype, weights=weights)
        stats = ActStats.load(snakemake.input.stats) if recipe.needs_calibration else None
        _, layers = quantize_model(model.network, recipe, stats, model.quantizable_layers(), best_device())
        sampler = read_tensor_metadata(snakemake.input.stats).get("sampler")
        metadata = origin(wildcards.model, model.config, layers, sampler)
        size = save_quantized(output.weights, model.network, recipe, components=model.components, metadata=metadata)
        write_parquet(output.layers, layers, {"model": wildcards.model, "recipe": recipe.to_config()})
        write_json(output.size, size)
        log(f"{size['total']} bytes; {layers['quantized'].sum()} of {len(layers)} layers quantized")
