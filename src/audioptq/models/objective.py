"""What a denoiser predicts: how a level of noise mixes signal and noise, and how a prediction becomes the denoised estimate.

Every objective writes the noisy latent as `x = alpha * x0 + sigma * noise`. Levels are in the objective's own terms
(`noise_levels.NAMES`), one per clip, `[batch]`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audioptq.errors import UserError

Predict = Callable[[Tensor, Tensor], Tensor]
SPACINGS = ("leading", "trailing", "linspace")


class Objective(ABC):
    """What a model was trained to predict.

    Attributes:
        name: A key of `noise_levels.NAMES`.
    """

    name: str

    @abstractmethod
    def alpha_sigma(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of signal and noise at a level, of the shape of `level`."""

    @abstractmethod
    def denoised(self, x: Tensor, level: Tensor, prediction: Tensor) -> Tensor:
        """The estimate of `x0` that a prediction stands for; `x` and `prediction` are `[batch, ...]`, `level` is `[batch]`."""

    def denoise(self, predict: Predict, x: Tensor, level: Tensor) -> Tensor:
        """The denoised estimate by a network: `predict(x, level)`, in the scale and time that it was trained with."""
        return self.denoised(x, level, predict(x, level))

    def initial(self, noise: Tensor, _level: float) -> Tensor:
        """The latent at the first level: noise alone, since nothing of the signal is left there."""
        return noise


class ContinuousV(Objective):
    """v of Salimans & Ho (2022, section 4), levels sigma: `x = x0 + sigma * noise`.

    The network sees `x / sqrt(1 + sigma^2)` at time `2 atan(sigma) / pi`; both, and what becomes of its prediction, are
    k-diffusion's `VDenoiser` to the bit.
    """

    name = "v"

    def alpha_sigma(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Signal as it is, and noise of the level's standard deviation."""
        return torch.ones_like(level), level

    def denoise(self, predict: Predict, x: Tensor, level: Tensor) -> Tensor:
        """Denoised estimate of `x` `[batch, ...]` at sigma `[batch]`."""
        scale = 1 / (level**2 + 1.0) ** 0.5
        return self.denoised(x, level, predict(x * spread(scale, x), level.atan() / math.pi * 2))

    def denoised(self, x: Tensor, level: Tensor, prediction: Tensor) -> Tensor:
        """`x / (1 + sigma^2) - v sigma / sqrt(1 + sigma^2)`."""
        skip, out = 1.0 / (level**2 + 1.0), -level * 1.0 / (level**2 + 1.0) ** 0.5
        return prediction * spread(out, x) + x * spread(skip, x)

    def initial(self, noise: Tensor, level: float) -> Tensor:
        """Noise of the first level's deviation, beside which the signal is nothing."""
        return noise * level


class RectifiedFlow(Objective):
    """Straight paths (Liu et al. 2023): `x = (1 - t) * x0 + t * noise`, levels t in [0, 1]; the network predicts `noise - x0`."""

    name = "rectified_flow"

    def alpha_sigma(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """`1 - t` and `t`."""
        return 1 - level, level

    def denoised(self, x: Tensor, level: Tensor, prediction: Tensor) -> Tensor:
        """`x - t v`."""
        return x - spread(level, x) * prediction


@dataclass(frozen=True)
class Discrete(Objective):
    """Noise or v on the timesteps of a table of betas (Ho et al. 2020), levels whole timesteps, as in diffusers' schedulers.

    Attributes:
        name: `eps`: the network predicts the noise; `v_discrete`: it predicts `alpha * noise - sigma * x0`.
        alphas_cumprod: `alpha^2` of every training timestep, float64 `[timesteps]`.
        spacing: How fewer timesteps are chosen: `leading`, `trailing` or `linspace` (diffusers' `timestep_spacing`).
        steps_offset: Added to timesteps of `leading`.
        set_alpha_to_one: Whether a deterministic last step ends in the estimate itself; else at the noise of timestep 0.
        clip: Largest magnitude of the denoised estimate; None for no limit. Where it acts, what samplers take for the noise is
            what leads from the limited estimate to `x` (diffusers' `use_clipped_model_output`).
    """

    name: str
    alphas_cumprod: Tensor
    spacing: str = "leading"
    steps_offset: int = 0
    set_alpha_to_one: bool = True
    clip: float | None = None

    @classmethod
    def from_scheduler(cls, config: Mapping[str, Any]) -> "Discrete":
        """From a `scheduler_config.json` of diffusers; keys that are absent have diffusers' values.

        Raises:
            UserError: If it asks for what is not built here; the key is named.
        """
        n_steps = _count(config, "num_train_timesteps", 1000)
        kind = config.get("prediction_type", "epsilon")
        names = {"epsilon": "eps", "v_prediction": "v_discrete"}
        spacing = config.get("timestep_spacing", "leading")
        _one_of("prediction_type", kind, names)
        _one_of("timestep_spacing", spacing, SPACINGS)
        for key in ("thresholding", "rescale_betas_zero_snr"):
            if config.get(key):
                raise UserError(
                    f"The scheduler's `{key}` is {config[key]!r}, which is not supported here: only false is."
                )
        return cls(
            names[kind],
            (1 - _betas(config, n_steps)).cumprod(0),
            spacing,
            int(config.get("steps_offset", 0)),
            bool(config.get("set_alpha_to_one", True)),
            float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample", True) else None,
        )

    def alpha_sigma(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Square roots of the table's entry and of what it lacks to 1."""
        squared = self.alphas_cumprod.to(level.device)[level.round().long()]
        return squared.sqrt().to(level.dtype), (1 - squared).sqrt().to(level.dtype)

    def denoised(self, x: Tensor, level: Tensor, prediction: Tensor) -> Tensor:
        """`(x - sigma eps) / alpha` or `alpha x - sigma v`, limited to `clip`."""
        alpha, sigma = (spread(share.to(x.dtype), x) for share in self.alpha_sigma(level))
        estimate = (x - sigma * prediction) / alpha if self.name == "eps" else alpha * x - sigma * prediction
        return estimate if self.clip is None else estimate.clamp(-self.clip, self.clip)


def spread(values: Tensor, like: Tensor) -> Tensor:
    """`[batch]` as `[batch, 1, ...]` of the rank of `like`."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def _betas(config: Mapping[str, Any], n_steps: int) -> Tensor:
    """Float64 `[timesteps]`."""
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    low, high = (float(config.get(key, value)) for key, value in (("beta_start", 1e-4), ("beta_end", 0.02)))
    kind = config.get("beta_schedule", "linear")
    _one_of("beta_schedule", kind, ("linear", "scaled_linear", "squaredcos_cap_v2"))
    if kind == "linear":
        return torch.linspace(low, high, n_steps, dtype=torch.float64)
    if kind == "scaled_linear":
        return torch.linspace(low**0.5, high**0.5, n_steps, dtype=torch.float64) ** 2
    # Nichol & Dhariwal 2021, eq. 17, no beta above 0.999.
    times = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
    squared = torch.cos((times + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - squared[1:] / squared[:-1]).clamp(max=0.999)


def _count(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise UserError(f"The scheduler's `{key}` is {value!r}: a whole number from 1 to 100,000 is needed.")
    return value


def _one_of(key: str, value: object, legal: Any) -> None:
    if value not in legal:
        raise UserError(f"The scheduler's `{key}` is {value!r}; what is supported here is {', '.join(legal)}.")
