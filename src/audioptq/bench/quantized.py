"""Quantized files behind the bench: made once for each model, recipe, schedule and library, and used again."""

from pathlib import Path
from typing import Any

from audioptq.bench.plan import BenchModel, Form
from audioptq.bench.statistics import calibrated_statistics, random_statistics
from audioptq.calibrate.act_stats import ActStats
from audioptq.files.artifacts import digest, file_digest
from audioptq.machine.device import best_device
from audioptq.machine.memory import require_memory
from audioptq.models.base import AudioModel
from audioptq.models.registry import open_model
from audioptq.models.stable_audio.files import weights_file
from audioptq.quantize import QuantRecipe
from audioptq.quantize.to_file import quantize_to_file
from audioptq.runs.library_files import library_files
from audioptq.sampling.sampler import SamplerSettings

SHOWN = 12


def make_quantized(entry: BenchModel, form: Form, *, sampler: dict[str, Any], seed: int, folder: str) -> dict[str, Any]:
    """The recipe's file for this model; it is made if it is not there.

    Args:
        entry: The model; random weights get random statistics.
        form: A recipe.
        sampler: The schedule.
        seed: Of the statistics.
        folder: Where files are kept, under names that hold a digest of all that they are made from.

    Returns:
        `path`, and `statistics`: `calibrated`, `random`, or `none` where the recipe needs none.

    Raises:
        UserError: If the recipe or the model does not allow it.
    """
    recipe = QuantRecipe.from_config(form.name, form.recipe)
    settings = SamplerSettings(**sampler)
    weights = weights_file(entry.folder)
    kind = "none" if not recipe.needs_calibration else "random" if entry.weights == "random" else "calibrated"
    made_from = [file_digest(weights), settings.record(), seed, kind, *map(file_digest, library_files(__file__))]
    path = Path(folder) / entry.name / f"{form.name}-{digest([recipe.digest, *made_from])[:SHOWN]}.safetensors"
    if not path.is_file():
        require_memory(2 * weights.stat().st_size, f"Quantizing {weights}", "leave this model out of the bench")
        model = open_model(entry.folder, entry.text_encoder, recipe.text_dtype)
        stats = None
        if kind == "random":
            stats = random_statistics(model, settings, seed)
        elif kind == "calibrated":
            stats = _calibrated(
                model, settings, seed, path.parent / f"statistics-{digest(made_from)[:SHOWN]}.safetensors"
            )
        quantize_to_file(model, recipe, stats, path, name=entry.name, device=best_device())
    return {"path": str(path), "statistics": kind}


def _calibrated(model: AudioModel, settings: SamplerSettings, seed: int, path: Path) -> ActStats:
    """The statistics of `path`, which all recipes of a model share."""
    if not path.is_file():
        model.require_text_encoder()
        calibrated_statistics(model.to(best_device()), settings, seed).save(path)
        model.to("cpu")
    return ActStats.load(path)
