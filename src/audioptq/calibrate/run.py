"""Runs the full-precision model on the calibration prompts through the real sampler, under observation."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pandas as pd
from torch import Tensor

from audioptq.calibrate.act_stats import ActStats
from audioptq.calibrate.observer import ActObserver
from audioptq.console import progress
from audioptq.machine.device import synchronise
from audioptq.models.base import AudioModel
from audioptq.sampling.sampler import SamplerSettings, check_lengths, sample


def calibrate(
    model: AudioModel,
    prompts: pd.DataFrame,
    *,
    settings: SamplerSettings,
    seed: int,
    batch_size: int,
    statistics: Sequence[str] = ("range",),
) -> tuple[ActStats, Tensor]:
    """Collects statistics of the inputs of the model's sites over the prompts.

    Args:
        model: In full precision.
        prompts: `clip_id`, `caption`, `seconds_total`; calibration prompts, not evaluation's.
        settings: The schedule; the statistics hold for this schedule alone.
        seed: Of the noise.
        batch_size: Prompts per pass; memory grows with it, and not with the number of prompts.
        statistics: Names of those that are wanted (`calibrate.statistics`, `QuantRecipe.needs`).

    Returns:
        The statistics, with `overhead` (observing time over the rest of the time) in their metadata, and the activation map
        `[tokens, channels]` of the last block's attention input at the middle of the schedule (the paper's figure 1); all on
        the CPU, wherever the model is.

    Raises:
        UserError: If a prompt asks for a longer clip than the model makes, there is no statistic of a name, or the model makes
            values that are not finite.
    """
    check_lengths(model, prompts["seconds_total"])
    sites = model.sites()
    map_layer = ([site.name for site in sites if site.role == "qkv"] or [site.name for site in sites])[-1]
    levels, middle = settings.levels(model.objective), settings.steps // 2
    observer = ActObserver(model.network, sites, levels, statistics=statistics, map_layer=map_layer, map_step=middle)
    started = time.perf_counter()
    with closing(observer), model.listening(observer.set_level):
        for first in progress(range(0, len(prompts), batch_size), "calibrate", unit="batch"):
            batch = prompts.iloc[first : first + batch_size]
            sample(
                model, batch["caption"].tolist(), batch["seconds_total"].tolist(),
                clip_ids=batch["clip_id"].tolist(), seed=seed, settings=settings,
            )  # fmt: skip
    synchronise(model.device)
    elapsed = time.perf_counter() - started
    stats = observer.act_stats()
    metadata = {
        "sampler": settings.record(),
        "seed": seed,
        "clip_ids": prompts["clip_id"].tolist(),
        "overhead": observer.seconds / (elapsed - observer.seconds),
        "map_layer": map_layer,
        "map_level": levels.values[middle],
    }
    assert observer.activation_map is not None  # the sampler passes every step of the schedule
    return replace(stats, metadata=metadata), observer.activation_map
