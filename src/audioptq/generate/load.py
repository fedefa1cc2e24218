"""Loads a quantized model, ready to sample, from its file alone."""

from pathlib import Path

from audioptq.artifacts import read_tensor_metadata
from audioptq.errors import DamagedArtifactError
from audioptq.models.stable_audio import StableAudioModel
from audioptq.quantize import QuantRecipe, load_quantized


def load_generator(weights: str | Path, text_encoder: str | Path | None = None) -> tuple[StableAudioModel, QuantRecipe]:
    """Builds the model that `weights` describes, with its recipe applied and its timestep clock following the sampler.

    Args:
        weights: A file of `quantize.save_quantized`, whose metadata hold the model's configuration.
        text_encoder: Directory of the model's T5, if it has one: T5 is no part of the file.

    Raises:
        DamagedArtifactError: If the file is damaged or does not say which model it is of.
        UserError: If the model needs a text encoder that is not given.
    """
    metadata = read_tensor_metadata(weights)
    if "model_config" not in metadata:
        raise DamagedArtifactError(
            f"{weights} does not hold a model's configuration: delete it and run snakemake again."
        )
    text_dtype = metadata.get("recipe", {}).get("text_dtype")
    model = StableAudioModel(metadata["model_config"], text_encoder, text_dtype, initialise=False)
    model.require_text_encoder()
    clock, recipe = load_quantized(weights, model.network)
    if clock is not None:
        model.add_step_listener(clock.set_sigma)
    return model, recipe
