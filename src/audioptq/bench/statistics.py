"""Activation statistics behind the recipes of the bench: calibrated on a few captions, or drawn, since speed depends on no value."""

import math

import pandas as pd
import torch
from torch import Tensor

from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.calibrate.run import calibrate
from audioptq.models.base import AudioModel
from audioptq.sampling.sampler import SamplerSettings

CAPTIONS = ("a dog barks", "rain falls", "a bell rings", "a siren wails")
# Spread of log absmax over channels, over timesteps, and of a channel's own course over time.
CHANNELS, COURSE = 1.0, 0.3


def calibrated_statistics(model: AudioModel, settings: SamplerSettings, seed: int) -> ActStats:
    """Ranges over a few captions, each of the longest clip."""
    clip_ids = [f"bench-{index}" for index in range(len(CAPTIONS))]
    prompts = pd.DataFrame({"clip_id": clip_ids, "caption": CAPTIONS, "seconds_total": model.max_seconds})
    stats, _ = calibrate(model, prompts, settings=settings, seed=seed, batch_size=len(CAPTIONS))
    return stats


def random_statistics(model: AudioModel, settings: SamplerSettings, seed: int) -> ActStats:
    """Ranges of a plausible shape: some channels wide and some narrow, each with a smooth course over time of its own.

    The prompt's own layers have one row for all timesteps, as in every calibration.
    """
    generator = torch.Generator().manual_seed(seed)
    levels = settings.levels(model.objective)
    time = torch.linspace(0.0, math.pi, len(levels))[:, None]
    layers = {}
    for site in model.sites():
        channels = model.network.get_submodule(site.name).in_features
        absmax = _absmax(time, channels, generator)
        absmax = absmax[:1].expand_as(absmax).contiguous() if site.reads_prompt_only else absmax
        layers[site.name] = LayerStats(absmax, -absmax, absmax)
    return ActStats(levels, layers, {"sampler": settings.record(), "seed": seed, "statistics": "random"})


def _absmax(time: Tensor, channels: int, generator: torch.Generator) -> Tensor:
    level = CHANNELS * torch.randn(channels, generator=generator)
    phase = math.pi * torch.rand(channels, generator=generator)
    return (level + COURSE * torch.cos(time + phase)).exp()
