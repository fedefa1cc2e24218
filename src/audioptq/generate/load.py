"""Loads a quantized model, ready to sample, from its file alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioptq.errors import UserError, damaged
from audioptq.generate.compute import use_compute
from audioptq.machine.device import best_device
from audioptq.machine.memory import gigabytes, require_memory
from audioptq.models.base import AudioModel
from audioptq.models.registry import build_model
from audioptq.quantize import QuantRecipe, load_quantized
from audioptq.quantize.file.size import matrix_shape
from audioptq.quantize.file.tensor_file import TensorFile
from audioptq.quantize.layers.weight_cache import compute_weight_bytes


@dataclass(frozen=True)
class Generator:
    """A quantized model on its device, ready to sample.

    Attributes:
        model: With its recipe applied, its timestep clock following the sampler.
        recipe: What was done to it.
        record: The file's metadata.
        compute: How its products run: `float`, `simulated` or `integer`.
        backends: Backend of each layer that multiplies integers.
        note: How the products run, with the reasons, in a line.
    """

    model: AudioModel
    recipe: QuantRecipe
    record: dict[str, Any]
    compute: str
    backends: dict[str, str]
    note: str


def open_generator(
    weights: str | Path,
    text_encoder: str | Path | None = None,
    *,
    compute: str = "simulated",
    batch_size: int = 1,
    device: str | None = None,
) -> Generator:
    """Builds the model that `weights` describes, puts it on its device and its products into the wanted form.

    The peak of memory is at most the file's size: no full-precision model is ever built, and what decodes stays in the file,
    whose bytes are checked, until a clip is decoded. Until then the file must not be overwritten in place; this library never
    does that, since it writes under another name and renames.

    Args:
        weights: A file of `quantize.save_quantized`, whose metadata hold the model's configuration.
        text_encoder: Directory of the model's text encoder, where that is no part of the file.
        compute: `simulated`, or `integer` to multiply integers wherever this machine multiplies them right (docs/integer.md).
        batch_size: Clips per pass that it is for; decides how much memory must be there.
        device: Where it runs; None for the best one.

    Raises:
        DamagedArtifactError: If the file is damaged or does not say which model it is of.
        UserError: If the model needs a text encoder that is not given, or more memory than there is.
    """
    device = device or best_device()
    with TensorFile(weights) as file:
        record = file.record
        if "model_config" not in record:
            raise damaged(weights, "it does not hold a model's configuration", "Quantize the model again.")
        try:
            model = build_model(
                record.get("family"), record["model_config"], text_encoder, record["recipe"].get("text_dtype")
            )
        except UserError:
            file.verify()  # a flipped bit in the configuration is told from one that was never good
            raise
        model.require_text_encoder()
        _require_memory(file, model, batch_size, device)
    clock, recipe = load_quantized(weights, model.network, unread=model.unread)
    model.is_pretransform_unread = bool(model.unread)
    if clock is not None:
        model.attach(clock)
    model = model.to(device)
    found, backends, note = use_compute(model.network, recipe, compute)
    return Generator(model, recipe, record, found, backends, note)


def _require_memory(file: TensorFile, model: AudioModel, batch_size: int, device: str) -> None:
    size = file.path.stat().st_size
    parts = {"its tensors": size}
    if device == "cpu":
        parts["compute weights in float32"] = compute_weight_bytes(
            map(matrix_shape, file.record["layers"].values()), file.record["recipe"].get("smoothing") or {}
        )
        parts["what decodes, as it computes"] = model.pretransform_bytes()
        parts[f"activations of {batch_size} at a time"] = model.activation_bytes(batch_size)
    listed = ", ".join(f"{gigabytes(n_bytes)} for {part}" for part, n_bytes in parts.items() if n_bytes)
    cure = "lower the batch size" if batch_size > 1 else "take a recipe with fewer bits"
    require_memory(sum(parts.values()), f"{file.path} ({listed})", cure)
