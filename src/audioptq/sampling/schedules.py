"""The noise levels of a schedule, in the terms of an objective."""

import math

import torch
from torch import Tensor

from audioptq.errors import UserError
from audioptq.models.objective import ContinuousV, Discrete, Objective
from audioptq.sampling.settings import SamplerSettings


def level_values(settings: SamplerSettings, objective: Objective) -> list[float]:
    """Levels in the order of sampling; those of v and rectified flow end at zero, where the denoiser is not called.

    Args:
        settings: Complete (`SamplerSettings.for_objective`).
        objective: Of the model.
    """
    if isinstance(objective, ContinuousV):
        assert settings.sigma_min is not None
        assert settings.sigma_max is not None
        values = sigmas(settings.steps, settings.sigma_min, settings.sigma_max, settings.rho or 1.0)
    elif isinstance(objective, Discrete):
        return [float(step) for step in timesteps(settings.steps, objective, settings.spacing)]
    else:
        values = flow_times(settings.steps, settings.logsnr_min, settings.logsnr_max)
    levels: list[float] = values.tolist()
    return levels


def sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """Polyexponential sigmas `[steps + 1]`, the last one zero; k-diffusion's to the bit (`get_sigmas_polyexponential`)."""
    ramp = torch.linspace(1, 0, steps) ** rho
    levels = torch.exp(ramp * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min))
    return torch.cat([levels, levels.new_zeros(1)])


def timesteps(steps: int, objective: Discrete, spacing: str | None = None) -> list[int]:
    """Training timesteps `[steps]`, descending, as diffusers' DDIM and DDPM schedulers choose them (Lin et al. 2024, table 2).

    Raises:
        UserError: If there are more steps than timesteps.
    """
    n_train, spacing = len(objective.alphas_cumprod), spacing or objective.spacing
    if steps > n_train:
        raise UserError(
            f"sampler.steps is {steps}, but the model was trained on {n_train} timesteps: set it to that or fewer."
        )
    if spacing == "linspace":
        chosen = torch.linspace(0, n_train - 1, steps, dtype=torch.float64).round().flip(0)
    elif spacing == "leading":
        chosen = torch.arange(steps).flip(0) * (n_train // steps) + objective.steps_offset
    else:
        chosen = (n_train - torch.arange(steps, dtype=torch.float64) * (n_train / steps)).round() - 1
    return [int(step) for step in chosen.clamp(0, n_train - 1)]


def flow_times(steps: int, logsnr_min: float | None, logsnr_max: float | None) -> Tensor:
    """Times `[steps + 1]` from 1 to 0: even in the log signal-to-noise ratio as in stable-audio-tools, or without one in t."""
    if logsnr_min is None or logsnr_max is None:
        return torch.linspace(1, 0, steps + 1)
    times = torch.sigmoid(-torch.linspace(logsnr_min, logsnr_max, steps + 1))
    times[0], times[-1] = 1, 0
    return times
