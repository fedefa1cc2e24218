"""Quantized files behind the bench: made once for each model, recipe, schedule and library, and used again."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from audioptq.bench.forms import weight_bytes
from audioptq.bench.plan import BenchModel, Form
from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.calibrate.run import calibrate
from audioptq.files.artifacts import digest, file_digest
from audioptq.machine.device import best_device
from audioptq.machine.memory import require_memory
from audioptq.models.base import AudioModel
from audioptq.models.registry import model_files, open_model
from audioptq.quantize import QuantRecipe
from audioptq.quantize.to_file import quantize_to_file
from audioptq.runs.library_files import library_files
from audioptq.sampling.sampler import SamplerSettings

CAPTIONS = ("a dog barks", "rain falls", "a bell rings", "a siren wails")
# Of random statistics: spread of log absmax over channels, and of a channel's own course over time.
CHANNELS, COURSE = 1.0, 0.3
SHOWN = 12


def make_quantized(model: BenchModel, form: Form, sampler: dict[str, Any], seed: int, folder: str) -> dict[str, Any]:
    """The recipe's file for this model; it is made if it is not there.

    Args:
        model: Random weights get random statistics.
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
    kind = "none" if not recipe.needs_calibration else "random" if model.weights == "random" else "calibrated"
    sources = [*model_files(model.folder), *library_files(__file__)]
    made_from = [settings.record(), seed, kind, *map(file_digest, sources)]
    path = Path(folder) / model.name / f"{form.name}-{digest([recipe.digest, *made_from])[:SHOWN]}.safetensors"
    if not path.is_file():
        size = weight_bytes(model.folder)
        require_memory(2 * size, f"Quantizing {model.folder}", "leave this model out of the bench")
        opened = open_model(model.folder, model.text_encoder, recipe.text_dtype)
        stats = None
        if kind == "random":
            stats = random_statistics(opened, settings, seed)
        elif kind == "calibrated":
            shared = path.parent / f"statistics-{digest(made_from)[:SHOWN]}.safetensors"
            if not shared.is_file():
                _calibrate(opened.to(best_device()), settings, seed).save(shared)
            stats = ActStats.load(shared)
        quantize_to_file(opened.to("cpu"), recipe, stats, path, name=model.name, device=best_device())
    return {"path": str(path), "statistics": kind}


def _calibrate(model: AudioModel, settings: SamplerSettings, seed: int) -> ActStats:
    clip_ids = [f"bench-{index}" for index in range(len(CAPTIONS))]
    prompts = pd.DataFrame({"clip_id": clip_ids, "caption": CAPTIONS, "seconds_total": model.max_seconds})
    return calibrate(model, prompts, settings=settings, seed=seed, batch_size=len(CAPTIONS))[0]


def random_statistics(model: AudioModel, settings: SamplerSettings, seed: int) -> ActStats:
    """Ranges of a plausible shape, since speed depends on no value: channels wide and narrow, each with a smooth course over time.

    What reads the prompt alone has one row for all timesteps, as in every calibration.
    """
    generator = torch.Generator().manual_seed(seed)
    levels = settings.levels(model.objective)
    time = torch.linspace(0.0, math.pi, len(levels))[:, None]
    layers = {}
    for site in model.sites():
        channels = model.network.get_submodule(site.name).weight.shape[1]
        level, phase = torch.randn(channels, generator=generator), math.pi * torch.rand(channels, generator=generator)
        absmax = (CHANNELS * level + COURSE * torch.cos(time * (not site.reads_prompt_only) + phase)).exp()
        layers[site.name] = LayerStats(absmax, -absmax, absmax)
    return ActStats(levels, layers, {"sampler": settings.record(), "seed": seed})
