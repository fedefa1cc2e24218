"""Sampling: from captions, seed and clip ids to latents, by any sampler."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from audioptq.errors import UserError
from audioptq.machine.memory import freed_is_kept
from audioptq.models.base import AudioModel
from audioptq.sampling.noise import initial_noise, step_noise
from audioptq.sampling.schedules import level_values
from audioptq.sampling.settings import DEFAULT_SAMPLER, DEFAULTS, SAMPLERS, SamplerSettings
from audioptq.sampling.solvers import SOLVERS, Walk

__all__ = ["DEFAULTS", "DEFAULT_SAMPLER", "SAMPLERS", "SamplerSettings", "check_lengths", "sample"]


@torch.inference_mode()
def sample(
    model: AudioModel,
    captions: Sequence[str],
    seconds_total: Sequence[float],
    *,
    clip_ids: Sequence[str],
    seed: int,
    settings: SamplerSettings,
) -> Tensor:
    """Latents `[batch, *latent_shape]` of captions; equal for equal (seed, clip_id), whatever else is in the batch.

    Raises:
        UserError: If the sampler is not for the model's objective, or the model is quantized for another schedule; found before
            the first step.
    """
    settings = settings.for_objective(model.objective)
    model.check_schedule(settings.levels(model.objective))
    levels = level_values(settings, model.objective)
    conditioning = model.condition(captions, seconds_total)
    # Drawn and scaled on the CPU, so that a GPU starts from the same numbers.
    noise = model.objective.initial(initial_noise(seed, clip_ids, model.latent_shape), levels[0])
    latents = noise.to(model.device)

    def denoise(noisy: Tensor, level: Tensor) -> Tensor:
        return model.denoise(noisy, level, conditioning, settings.cfg_scale)

    walk = Walk(denoise, levels, model.objective, settings, step_noise(seed, clip_ids, latents))
    with freed_is_kept():
        return SOLVERS[settings.name](latents, walk)


def check_lengths(model: AudioModel, seconds_total: Iterable[float]) -> None:
    """Checks that the model can make clips of these lengths, before a stage sets to work.

    Raises:
        UserError: If one is longer than the model's longest clip, or not longer than nothing.
    """
    for seconds in seconds_total:
        if not 0 < seconds <= model.max_seconds:
            raise UserError(
                f"The prompts ask for a clip of {seconds:g} seconds, but this model makes at most {model.max_seconds:.4g} seconds: "
                "change `seconds_total` of the data set in the config to something above 0 and up to that."
            )
