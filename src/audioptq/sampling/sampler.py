"""The samplers of the evaluation protocol, with every setting passed and none left to a library's default."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from audioptq.errors import UserError
from audioptq.machine.memory import freed_is_kept
from audioptq.models.base import AudioModel
from audioptq.noise_levels import NoiseLevels
from audioptq.sampling.noise import brownian_noise, initial_noise

STOCHASTIC = ("dpmpp-3m-sde", "dpmpp-2m-sde")
SAMPLERS = (*STOCHASTIC, "dpmpp-2m")


@dataclass(frozen=True)
class SamplerSettings:
    """A denoising schedule and how it is walked.

    Attributes:
        name: `dpmpp-3m-sde` (Stable Audio Open's), `dpmpp-2m-sde`, or `dpmpp-2m` (deterministic).
        steps: Passes through the denoiser.
        sigma_min: Last noise level but zero.
        sigma_max: First noise level.
        rho: Curvature of the polyexponential schedule; 1 is linear in log sigma.
        cfg_scale: Strength of the classifier-free guidance.
    """

    name: str
    steps: int
    sigma_min: float
    sigma_max: float
    rho: float
    cfg_scale: float

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise UserError(f"sampler.name is {self.name!r}; the samplers are {', '.join(SAMPLERS)}.")
        if self.steps < 2 or not 0 < self.sigma_min < self.sigma_max:
            raise UserError(
                f"sampler.steps is {self.steps}, sigma_min {self.sigma_min}, sigma_max {self.sigma_max}: at least 2 steps and "
                "0 < sigma_min < sigma_max are needed."
            )

    def sigmas(self) -> Tensor:
        """Noise levels `[steps + 1]`, descending, the last one zero."""
        from audioptq.models.stable_audio.upstream import samplers

        return samplers.get_sigmas_polyexponential(self.steps, self.sigma_min, self.sigma_max, self.rho)

    def levels(self) -> NoiseLevels:
        """The levels at which the denoiser is called."""
        return NoiseLevels("v", self.sigmas()[:-1].tolist())

    def record(self) -> dict[str, Any]:
        """The settings as a JSON-able record."""
        return asdict(self)


# What config.yaml evaluates mini with; Stable Audio Open takes 100 steps and a guidance of 7.
DEFAULT_SAMPLER = SamplerSettings("dpmpp-3m-sde", steps=16, sigma_min=0.3, sigma_max=500.0, rho=1.0, cfg_scale=3.0)


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
    """Latents `[batch, channels, frames]` of a batch of captions; equal for equal (seed, clip_id), whatever else is in the batch.

    Raises:
        UserError: If the model is quantized for another schedule; found before the first step.
    """
    from audioptq.models.stable_audio.upstream import samplers

    sigmas = settings.sigmas()
    model.check_schedule(settings.levels())
    conditioning = model.condition(captions, seconds_total)
    # Drawn and scaled on the CPU, so that a GPU starts from the same numbers.
    latents = (initial_noise(seed, clip_ids, model.latent_shape) * sigmas[0]).to(model.device)
    functions = {
        "dpmpp-3m-sde": samplers.sample_dpmpp_3m_sde,
        "dpmpp-2m-sde": samplers.sample_dpmpp_2m_sde,
        "dpmpp-2m": samplers.sample_dpmpp_2m,
    }
    extra: dict[str, Any] = {}
    if settings.name in STOCHASTIC:
        extra["noise_sampler"] = brownian_noise(seed, clip_ids, latents)

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        return model.denoise(noisy, sigma, conditioning, settings.cfg_scale)

    with freed_is_kept():
        return functions[settings.name](denoise, latents, sigmas.to(model.device), disable=True, **extra)


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
