"""Loads a quantized model, ready to sample, from its file alone."""

from pathlib import Path

from audioptq.errors import UserError
from audioptq.machine.device import best_device
from audioptq.machine.memory import gigabytes, require_memory
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.quantize import QuantRecipe, load_quantized
from audioptq.quantize.file.tensor_file import TensorFile, damaged
from audioptq.quantize.layers.stored_weight import compute_weight_bytes

# Used when the clip is decoded, and not before: until then it stays in the file.
UNREAD = ("pretransform.",)


def load_generator(
    weights: str | Path, text_encoder: str | Path | None = None, *, batch_size: int = 1
) -> tuple[StableAudioModel, QuantRecipe]:
    """Builds the model that `weights` describes, with its recipe applied and its timestep clock following the sampler.

    The peak of memory is at most the file's size: no full-precision model is ever built, and what decodes stays in the file,
    whose bytes are checked, until a clip is decoded. Until then the file must not be overwritten in place; this library never
    does that, since it writes under another name and renames.

    Args:
        weights: A file of `quantize.save_quantized`, whose metadata hold the model's configuration.
        text_encoder: Directory of the model's T5, if it has one: T5 is no part of the file.
        batch_size: Clips per pass that it is for; decides how much memory must be there.

    Raises:
        DamagedArtifactError: If the file is damaged or does not say which model it is of.
        UserError: If the model needs a text encoder that is not given, or more memory than there is.
    """
    with TensorFile(weights) as file:
        record = file.record
        if "model_config" not in record:
            raise damaged(weights, "it does not hold a model's configuration")
        text_dtype = record["recipe"].get("text_dtype")
        try:
            model = StableAudioModel(record["model_config"], text_encoder, text_dtype, initialise=False)
        except UserError:
            file.verify()  # a flipped bit in the configuration is told from one that was never good
            raise
        model.require_text_encoder()
        _require_memory(file, model, batch_size)
    clock, recipe = load_quantized(weights, model.network, unread=UNREAD)
    model.is_pretransform_unread = True
    model.once.is_on = True
    if clock is not None:
        model.add_step_listener(clock.set_sigma)
        model.check_schedule = clock.check
    return model, recipe


def _require_memory(file: TensorFile, model: StableAudioModel, batch_size: int) -> None:
    size = file.path.stat().st_size
    parts = {"its tensors": size}
    if best_device() == "cpu":
        parts["compute weights in float32"] = compute_weight_bytes(
            file.record["layers"].values(), file.record["recipe"].get("smoothing") or {}
        )
        parts["what decodes, as it computes"] = model.pretransform_bytes()
        parts[f"activations of {batch_size} at a time"] = model.activation_bytes(batch_size)
    listed = ", ".join(f"{gigabytes(n_bytes)} for {part}" for part, n_bytes in parts.items() if n_bytes)
    cure = "lower the batch size" if batch_size > 1 else "take a recipe with fewer bits"
    require_memory(sum(parts.values()), f"{file.path} ({listed})", cure)
