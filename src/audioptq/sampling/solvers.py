"""Steps from noise to a denoised latent, for every sampler."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audioptq.models.objective import Discrete, Objective
from audioptq.sampling.noise import NoiseSampler
from audioptq.sampling.settings import SamplerSettings


@dataclass(frozen=True)
class Walk:
    """What a solver is given.

    Attributes:
        denoise: `denoise(x, level)`, the denoised estimate of `x` `[batch, ...]` at levels `[batch]`.
        levels: In the order of sampling, of the schedule's own length (see `schedules.level_values`).
        objective: What the levels mean.
        settings: Complete.
        noise: Fresh standard normal noise of the shape of the latents at every call, a stream of its own for each clip.
    """

    denoise: Callable[[Tensor, Tensor], Tensor]
    levels: list[float]
    objective: Objective
    settings: SamplerSettings
    noise: NoiseSampler

    def estimate(self, x: Tensor, level: float) -> Tensor:
        """Denoised at one level for all clips."""
        return self.denoise(x, x.new_full((len(x),), level))


def k_diffusion(x: Tensor, walk: Walk) -> Tensor:
    """DPM-Solver++ (Lu et al. 2022) in k-diffusion's functions; stochastic ones take their increments from the clips' noise."""
    from audioptq.sampling.k_diffusion import FUNCTIONS, STOCHASTIC

    name = walk.settings.name
    extra: dict[str, Any] = {"noise_sampler": walk.noise} if name in STOCHASTIC else {}
    levels = torch.tensor(walk.levels, dtype=torch.float32).to(x.device)
    latents: Tensor = FUNCTIONS[name](walk.denoise, x, levels, disable=True, **extra)
    return latents


def euler(x: Tensor, walk: Walk) -> Tensor:
    """First-order steps along `(x - x0) / level`: Karras et al. 2022, algorithm 1, for sigma; the velocity itself for t."""
    for level, following in zip(walk.levels, walk.levels[1:], strict=False):
        x = x + (x - walk.estimate(x, level)) / level * (following - level)
    return x


def ping_pong(x: Tensor, walk: Walk) -> Tensor:
    """Denoises all the way, then noises to the next level: `(1 - t') x0 + t' noise`; for few-step models of rectified flow."""
    for level, following in zip(walk.levels, walk.levels[1:], strict=False):
        denoised = walk.estimate(x, level)
        x = (1 - following) * denoised + following * walk.noise(x, x) if following > 0 else denoised
    return x


def ddim(x: Tensor, walk: Walk) -> Tensor:
    """Song et al. 2021, eq. 12 with the deviation of eq. 16 times `eta`; timesteps are followed as in diffusers' DDIMScheduler."""
    objective, eta = _discrete(walk), walk.settings.eta or 0.0
    last = 1.0 if objective.set_alpha_to_one else float(objective.alphas_cumprod[0])
    for level in walk.levels:
        here, after = _neighbours(walk, objective, level, last)
        denoised = walk.estimate(x, level)
        noise = (x - here**0.5 * denoised) / (1 - here) ** 0.5
        deviation = eta * ((1 - after) / (1 - here) * (1 - here / after)) ** 0.5
        x = after**0.5 * denoised + (1 - after - deviation**2) ** 0.5 * noise
        if deviation > 0:
            x = x + deviation * walk.noise(x, x)
    return x


def ddpm(x: Tensor, walk: Walk) -> Tensor:
    """Ho et al. 2020, eqs. 6 and 7, the posterior's own variance (diffusers' DDPMScheduler with `fixed_small`)."""
    objective = _discrete(walk)
    for level in walk.levels:
        here, after = _neighbours(walk, objective, level, 1.0)
        alpha = here / after
        denoised = walk.estimate(x, level)
        x = after**0.5 * (1 - alpha) / (1 - here) * denoised + alpha**0.5 * (1 - after) / (1 - here) * x
        variance = (1 - after) / (1 - here) * (1 - alpha)
        if variance > 0:
            x = x + variance**0.5 * walk.noise(x, x)
    return x


def _discrete(walk: Walk) -> Discrete:
    assert isinstance(walk.objective, Discrete)
    return walk.objective


def _neighbours(walk: Walk, objective: Discrete, level: float, last: float) -> tuple[float, float]:
    """`alpha^2` at a timestep and at the one that diffusers takes to follow it, `timesteps / steps` further down."""
    table = objective.alphas_cumprod
    following = round(level) - len(table) // len(walk.levels)
    return float(table[round(level)]), float(table[following]) if following >= 0 else last


SOLVERS: dict[str, Callable[[Tensor, Walk], Tensor]] = {
    "dpmpp-3m-sde": k_diffusion,
    "dpmpp-2m-sde": k_diffusion,
    "dpmpp-2m": k_diffusion,
    "euler": euler,
    "ddim": ddim,
    "ddpm": ddpm,
    "ping-pong": ping_pong,
}
