"""Rule quantize: applies a recipe to the full-precision model and writes the quantized model, its layers and its size."""

from pathlib import Path
from typing import TYPE_CHECKING

from audioptq.calibrate.act_stats import ActStats
from audioptq.files.artifacts import read_tensor_metadata, write_json, write_parquet
from audioptq.machine.device import best_device
from audioptq.models.registry import open_model
from audioptq.quantize import QuantRecipe
from audioptq.quantize.to_file import quantize_to_file
from audioptq.runs import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        output, wildcards = snakemake.output, snakemake.wildcards
        recipe = QuantRecipe.from_config(wildcards.recipe, snakemake.params.recipe)
        model = open_model(Path(snakemake.input.model[0]).parent, text_dtype=recipe.text_dtype)
        stats = ActStats.load(snakemake.input.stats) if recipe.needs_calibration else None
        made = quantize_to_file(
            model, recipe, stats, output.weights, name=wildcards.model, device=best_device(),
            sampler=read_tensor_metadata(snakemake.input.stats).get("sampler"),
        )  # fmt: skip
        write_parquet(output.layers, made.layers, {"model": wildcards.model, "recipe": recipe.to_config()})
        write_json(output.size, made.size)
        log(f"{made.size['total']} bytes; {made.layers['quantized'].sum()} of {len(made.layers)} layers quantized")
