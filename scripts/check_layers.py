"""Rule check_layers: applies every selected recipe's globs to the model's layers and lists what each would quantize."""

from pathlib import Path
from typing import TYPE_CHECKING

from audioptq.artifacts import write_json
from audioptq.console import job_log
from audioptq.models.stable_audio import StableAudioModel, read_model_config
from audioptq.quantize import QuantRecipe, select_layers

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        model = StableAudioModel(read_model_config(Path(snakemake.input.model[0]).parent))
        candidates = model.quantizable_layers()
        chosen = {
            name: list(select_layers(model.network, QuantRecipe.from_config(name, entry), candidates))
            for name, entry in snakemake.params.recipes.items()
        }
        write_json(snakemake.output[0], {"candidates": candidates, "chosen": chosen})
