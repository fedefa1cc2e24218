"""Tells the quantized layers of a model which denoising timestep they are in."""

import math
from collections.abc import Iterable

from audioptq.errors import UserError

LOG_TOLERANCE = 1e-3


class TimestepClock:
    """The current row of the calibrated noise levels, shared by all quantized layers of a model.

    Timesteps are found by noise level, not by loop index, so that statistics of one schedule are never applied silently
    to another. The sampler sets the level before every call of the denoiser.

    Attributes:
        sigmas: The calibrated noise levels, in calibration order.
    """

    def __init__(self, sigmas: Iterable[float]) -> None:
        self.sigmas = tuple(float(sigma) for sigma in sigmas)
        self._logs = [math.log(sigma) if sigma > 0 else -math.inf for sigma in self.sigmas]
        self._index: int | None = None

    @property
    def index(self) -> int:
        """Row of the current timestep.

        Raises:
            RuntimeError: If the sampler never called `set_sigma`.
        """
        if self._index is None:
            raise RuntimeError("a timestep-dependent layer ran before TimestepClock.set_sigma was called")
        return self._index

    def set_sigma(self, sigma: float) -> None:
        """Moves to the calibrated noise level that equals `sigma` within a relative 0.1 %.

        Raises:
            UserError: If there is none: the statistics were calibrated with another schedule.
        """
        nearest, distance = self._nearest(float(sigma))
        if not distance < LOG_TOLERANCE:
            raise self._uncalibrated(float(sigma), nearest)
        self._index = nearest

    def check(self, sigmas: Iterable[float]) -> None:
        """Checks a whole schedule before a sampler sets to work; a final zero is no pass of the denoiser.

        Raises:
            UserError: For the level that is furthest from any calibrated one, if that is not one of them.
        """
        levels = [float(sigma) for sigma in sigmas]
        levels = levels[:-1] if levels and levels[-1] == 0 else levels
        worst = max(levels, key=lambda sigma: self._nearest(sigma)[1], default=None)
        if worst is not None:
            nearest, distance = self._nearest(worst)
            if not distance < LOG_TOLERANCE:
                raise self._uncalibrated(worst, nearest)

    def _nearest(self, sigma: float) -> tuple[int, float]:
        """Row of the nearest calibrated level, and the distance to it, `|log|`; infinite for what is no level."""
        if not 0 < sigma < math.inf:
            return 0, math.inf
        distances = [abs(math.log(sigma) - log) for log in self._logs]
        nearest = min(range(len(distances)), key=distances.__getitem__)
        return nearest, distances[nearest]

    def _uncalibrated(self, sigma: float, nearest: int) -> UserError:
        known = self.sigmas[nearest]
        return UserError(
            f"The sampler is at noise level {sigma:.6g}, for which this quantized model has no statistics: the nearest "
            f"calibrated level is {known:.6g}, a gap of {abs(sigma - known) / known:.1%}. It was calibrated with another "
            f"schedule, whose {len(self.sigmas)} levels are {_listed(self.sigmas)}. Generate with the schedule of the "
            "calibration, or calibrate and quantize again with this one."
        )


def _listed(sigmas: tuple[float, ...]) -> str:
    words = [f"{sigma:.6g}" for sigma in sigmas]
    return ", ".join(words if len(words) <= 12 else [*words[:6], "...", *words[-5:]])
