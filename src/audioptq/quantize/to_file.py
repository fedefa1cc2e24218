"""Quantizing a model into a file: what the workflow, the command and the bench all do."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pandas as pd

from audioptq.calibrate.act_stats import ActStats
from audioptq.errors import UserError
from audioptq.files.artifacts import digest
from audioptq.quantize.file.storage import save_quantized
from audioptq.quantize.layers.apply import quantize_model
from audioptq.quantize.recipe.recipe import QuantRecipe
from audioptq.site import Site


class Quantizable(Protocol):
    """What is asked of a model (`models.base.AudioModel` has it all)."""

    family: ClassVar[str]
    objective: Any
    network: Any
    config: dict[str, Any]
    components: ClassVar[dict[str, str]]

    def sites(self) -> list[Site]:
        """The layers that recipes choose from."""
        ...


@dataclass(frozen=True)
class QuantizedFile:
    """What became of a model.

    Attributes:
        layers: The table of `quantize_model`.
        size: The size record of the file (`file.size.size_record`).
    """

    layers: pd.DataFrame
    size: dict[str, Any]


def quantize_to_file(
    model: Quantizable,
    recipe: QuantRecipe,
    stats: ActStats | None,
    path: str | Path,
    *,
    name: str,
    sampler: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> QuantizedFile:
    """Applies a recipe to a full-precision model, in place, and writes the quantized model.

    Args:
        model: In full precision.
        recipe: What is done.
        stats: Activation statistics; needed if `recipe.needs_calibration`.
        path: The file to write.
        name: The model's name in the file.
        sampler: Settings of the sampler that the file is made for; None for those of the calibration.
        device: Where each layer is worked on in turn; None for where it is.

    Raises:
        UserError: If the recipe does not fit the model, or statistics are missing, do not fit or are of another objective.
    """
    if stats is not None and stats.levels.objective != model.objective.name:
        raise UserError(
            f"The activation statistics were made under the objective {stats.levels.objective}, but this model's is "
            f"{model.objective.name}: they are of another model. Calibrate again with this one."
        )
    _, layers = quantize_model(model.network, recipe, stats, model.sites(), device)
    sampler = sampler or (stats.metadata.get("sampler") if stats is not None else None)
    metadata = _provenance(model, name, layers, sampler)
    size = save_quantized(path, model.network, recipe, components=model.components, metadata=metadata)
    return QuantizedFile(layers, size)


def _provenance(
    model: Quantizable, name: str, layers: pd.DataFrame, sampler: Mapping[str, Any] | None
) -> dict[str, Any]:
    """How the file was made; the signal-to-noise ratios are of the quantized layers, in the order of their names."""
    quantized = layers[layers["quantized"]].sort_values("layer")
    return {
        "model": name,
        "family": model.family,
        "model_config": dict(model.config),
        "model_digest": digest(model.config),
        "sampler": None if sampler is None else dict(sampler),
        "sqnr_db": [round(value, 2) if math.isfinite(value) else None for value in quantized["sqnr_db"].astype(float)],
    }
