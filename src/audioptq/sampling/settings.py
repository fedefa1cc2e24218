"""Settings of a sampler: which there are, which objective each is for, and which settings belong to it. Imports no torch."""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from audioptq.errors import UserError, did_you_mean
from audioptq.noise_levels import NoiseLevels

if TYPE_CHECKING:
    from audioptq.models.objective import Objective

# What a schedule is made of, with its defaults; None leaves the choice to the schedule or to the model.
SIGMAS: dict[str, Any] = {"sigma_min": 0.3, "sigma_max": 500.0, "rho": 1.0}
TIMES: dict[str, Any] = {"logsnr_min": None, "logsnr_max": None}
TIMESTEPS: dict[str, Any] = {"spacing": None}
# Sampler -> objective -> settings that belong to both.
SAMPLERS: dict[str, dict[str, dict[str, Any]]] = {
    "dpmpp-3m-sde": {"v": SIGMAS},
    "dpmpp-2m-sde": {"v": SIGMAS},
    "dpmpp-2m": {"v": SIGMAS},
    "euler": {"v": SIGMAS, "rectified_flow": TIMES},
    "ddim": {key: {**TIMESTEPS, "eta": 0.0} for key in ("eps", "v_discrete")},
    "ddpm": dict.fromkeys(("eps", "v_discrete"), TIMESTEPS),
    "ping-pong": {"rectified_flow": {"logsnr_min": -6.0, "logsnr_max": 2.0}},
}


@dataclass(frozen=True)
class SamplerSettings:
    """A denoising schedule and how it is walked.

    Settings of the schedule that are not given have the sampler's defaults (`SAMPLERS`).

    Attributes:
        name: A key of `SAMPLERS`.
        steps: Passes through the denoiser.
        cfg_scale: Strength of the classifier-free guidance; 1 is none.
        sigma_min: Last noise level but zero, for the v objective.
        sigma_max: First noise level.
        rho: Curvature of the polyexponential schedule; 1 is linear in log sigma.
        eta: Of `ddim`: 0 adds no noise, 1 as much as `ddpm` (Song et al. 2021, eq. 16).
        spacing: Of timesteps: `leading`, `trailing` or `linspace`; None for what the model's scheduler says.
        logsnr_min: Log signal-to-noise ratio where a rectified flow begins; the first level is 1 all the same. With neither
            this nor `logsnr_max`, `euler` walks in even steps of t.
        logsnr_max: Where it would end; the last level is 0 all the same.

    Raises:
        UserError: If a setting is not legal, or belongs to another sampler.
    """

    name: str
    steps: int
    cfg_scale: float
    sigma_min: float | None = None
    sigma_max: float | None = None
    rho: float | None = None
    eta: float | None = None
    spacing: str | None = None
    logsnr_min: float | None = None
    logsnr_max: float | None = None

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise UserError(
                f"sampler.name is {self.name!r}; the samplers are {', '.join(SAMPLERS)}.{did_you_mean(self.name, SAMPLERS)}"
            )
        schedules = list(SAMPLERS[self.name].values())
        self._refuse_foreign({key for schedule in schedules for key in schedule}, "")
        if all(schedule == schedules[0] for schedule in schedules):
            self._fill(schedules[0])
        self._check()

    def levels(self, objective: "Objective") -> NoiseLevels:
        """The levels at which the denoiser is called.

        Raises:
            UserError: If the sampler is not for the objective; the legal ones are named.
        """
        from audioptq.sampling.schedules import level_values

        return NoiseLevels(objective.name, level_values(self.for_objective(objective), objective)[: self.steps])

    def for_objective(self, objective: "Objective | str") -> "SamplerSettings":
        """The settings with all defaults that a model's objective, or the name of it, decides.

        Raises:
            UserError: If the sampler is not for the objective; the legal ones are named.
        """
        name = objective if isinstance(objective, str) else objective.name
        legal = [sampler for sampler, objectives in SAMPLERS.items() if name in objectives]
        if self.name not in legal:
            raise UserError(
                f"The sampler {self.name} does not go with this model, whose objective is {name}: set `sampler.name` "
                f"(or --sampler) to one of {', '.join(legal)}."
            )
        filled, schedule = replace(self), SAMPLERS[self.name][name]
        filled._refuse_foreign(schedule, f" under the objective {name}")
        filled._fill(schedule)
        return filled

    def changed(self, changes: Mapping[str, Any]) -> "SamplerSettings":
        """The same with some fields changed; with another sampler, settings that are not its own are left out.

        Raises:
            UserError: If a field is unknown or not legal.
        """
        own = asdict(self)
        unknown = next((key for key in changes if key not in own), None)
        if unknown is not None:
            raise UserError(
                f"A sampler has no setting {unknown!r}.{did_you_mean(unknown, own)} It has {', '.join(own)}."
            )
        name = str(changes.get("name", self.name))
        if name != self.name and name in SAMPLERS:
            legal = {key for schedule in SAMPLERS[name].values() for key in schedule}
            own = {key: value for key, value in own.items() if key in legal or key not in _SCHEDULE}
        return SamplerSettings(**{**own, **changes})

    def record(self) -> dict[str, Any]:
        """The settings that are set, as a JSON-able record."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def _refuse_foreign(self, legal: Collection[str], where: str) -> None:
        foreign = next((key for key in _SCHEDULE if key not in legal and getattr(self, key) is not None), None)
        if foreign is not None:
            raise UserError(
                f"sampler.{foreign} does not belong to the sampler {self.name}{where}, which takes steps, cfg_scale"
                f"{''.join(f', {key}' for key in _SCHEDULE if key in legal)}: remove it, or set it to null in a config that "
                "inherits it."
            )

    def _fill(self, defaults: Mapping[str, Any]) -> None:
        for key, value in defaults.items():
            if getattr(self, key) is None:
                object.__setattr__(self, key, value)

    def _check(self) -> None:
        values = (self.steps, self.cfg_scale, *(getattr(self, key) for key in _SCHEDULE if key != "spacing"))
        numbers = [value for value in values if value is not None]
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise UserError(
                    f"The settings of a sampler are finite numbers, but among {self.record()} is {number!r}."
                )
        low, high = self.sigma_min, self.sigma_max
        if low is not None and high is not None and not 0 < low < high < math.inf:
            raise UserError(
                f"`sampler.sigma_min` is {low} and `sampler.sigma_max` is {high}: 0 < sigma_min < sigma_max is needed."
            )
        if not isinstance(self.steps, int) or self.steps < 1 or (self.steps < 2 and "v" in SAMPLERS[self.name]):
            least = 2 if "v" in SAMPLERS[self.name] else 1
            raise UserError(f"sampler.steps is {self.steps}: a whole number, at least {least} steps, is needed.")
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise UserError(f"sampler.eta is {self.eta}: a number from 0 to 1 is needed.")
        if self.spacing is not None and self.spacing not in ("leading", "trailing", "linspace"):
            raise UserError(f"sampler.spacing is {self.spacing!r}; legal are leading, trailing and linspace.")
        first, last = self.logsnr_min, self.logsnr_max
        if (first is None) != (last is None) or (first is not None and last is not None and not first < last):
            raise UserError(
                f"sampler.logsnr_min is {first} and logsnr_max {last}: both, rising, or neither are needed."
            )


_SCHEDULE = tuple(field.name for field in fields(SamplerSettings))[3:]  # all but name, steps, cfg_scale
# What config.yaml evaluates mini with; Stable Audio Open takes 100 steps and a guidance of 7.
DEFAULT_SAMPLER = SamplerSettings("dpmpp-3m-sde", steps=16, cfg_scale=3.0)
# Where nothing else is said, by objective: few steps without guidance as Stable Audio Open Small is published, and DDIM's fifty.
DEFAULTS = {
    "v": DEFAULT_SAMPLER,
    "rectified_flow": SamplerSettings("ping-pong", steps=8, cfg_scale=1.0),
    "eps": SamplerSettings("ddim", steps=50, cfg_scale=3.0),
    "v_discrete": SamplerSettings("ddim", steps=50, cfg_scale=3.0),
}
