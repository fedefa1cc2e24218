"""Rule quantize: applies a recipe to the full-precision model and writes the quantized model, its layers and its size."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.calibrate.act_stats import ActStats
from audioptq.files.artifacts import read_tensor_metadata, write_json, write_parquet
from audioptq.machine.device import best_device
from audioptq.models.registry import folder_of, open_model
from audioptq.quantize import QuantRecipe
from audioptq.quantize.to_file import quantize_to_file

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def quantize(
    folder: Path, name: str, recipe: QuantRecipe, stats: str, *, weights: str, layers: str, size: str,
    log: Callable[[str], None],
) -> None:  # fmt: skip
    """Quantizes the model of a folder with the statistics of a file, and writes `weights`, `layers` and `size`."""
    made = quantize_to_file(
        open_model(folder, text_dtype=recipe.text_dtype),
        recipe,
        ActStats.load(stats) if recipe.needs_calibration else None,
        weights,
        name=name,
        device=best_device(),
        sampler=read_tensor_metadata(stats).get("sampler"),
    )
    write_parquet(layers, made.layers, {"model": name, "recipe": recipe.to_config()})
    write_json(size, made.size)
    log(f"{made.size['total']} bytes; {made.layers['quantized'].sum()} of {len(made.layers)} layers quantized")


if __name__ == "__main__":
    with job.log(snakemake.log[0], snakemake.threads) as log:
        files, wildcards = snakemake.input, snakemake.wildcards
        recipe = QuantRecipe.from_config(wildcards.recipe, snakemake.params.recipe)
        outputs = dict(snakemake.output.items())
        quantize(folder_of(files.model), wildcards.model, recipe, files.stats, **outputs, log=log)
