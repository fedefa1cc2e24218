"""The noise levels of a denoising schedule, in the terms of the model's objective."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audioptq.errors import UserError, did_you_mean

# What a level is, by objective. Timesteps are whole numbers, so that two that differ are not one rounded; the others may be
# rounded on their way through a network's input, and differ by a relative 0.1 % at most.
NAMES = {
    "v": "sigma",
    "eps": "timestep",
    "v_discrete": "timestep",
    "rectified_flow": "t",
}
TOLERANCE = 1e-3


@dataclass(frozen=True)
class NoiseLevels:
    """The levels at which a sampler calls the denoiser.

    Attributes:
        objective: A key of `NAMES`: what the levels mean.
        values: In the order of sampling, finite and not negative; a final level at which the denoiser is not called is not among
            them. A sigma is above zero, where the v objective has nothing to denoise; a timestep or a t may be zero.

    Raises:
        UserError: If there is no such objective, or a value is no level of it.
    """

    objective: str
    values: Sequence[float]

    def __post_init__(self) -> None:
        if self.objective not in NAMES:
            raise UserError(
                f"There is no objective {self.objective!r}.{did_you_mean(self.objective, NAMES)} The objectives are "
                f"{', '.join(NAMES)}."
            )
        object.__setattr__(self, "values", tuple(float(level) for level in self.values))
        bad = [level for level in self.values if not self._is_level(level)]
        if bad:
            least = "above zero" if NAMES[self.objective] == "sigma" else "zero or above"
            raise UserError(
                f"{bad[0]:.6g} is no noise level of the objective {self.objective!r}: a {NAMES[self.objective]} is finite and "
                f"{least}."
            )

    def __len__(self) -> int:
        return len(self.values)

    def row(self, level: float) -> int:
        """The row of a level.

        Raises:
            UserError: If the schedule has no such level.
        """
        row, distance = self._nearest(float(level))
        if not distance <= self._tolerance:
            raise self._absent(float(level), row)
        return row

    def check(self, other: "NoiseLevels") -> None:
        """Checks that all levels of another schedule are levels of this one, before a sampler sets to work.

        Raises:
            UserError: If the other is of another objective, or for its level that is furthest from any of these.
        """
        if other.objective != self.objective:
            raise UserError(
                f"The model samples under the objective {other.objective!r}, but this calibration was made under "
                f"{self.objective!r}: their noise levels do not compare. Calibrate and quantize again with this model."
            )
        worst = max(other.values, key=lambda level: self._nearest(level)[1], default=None)
        if worst is not None:
            self.row(worst)

    @property
    def _tolerance(self) -> float:
        return 0.25 if NAMES[self.objective] == "timestep" else TOLERANCE

    def _nearest(self, level: float) -> tuple[int, float]:
        """Row of the nearest level and the distance to it; infinite for what is no level."""
        distances = [self._distance(level, known) for known in self.values]
        row = min(range(len(distances)), key=distances.__getitem__, default=0)
        return row, distances[row] if distances else math.inf

    def _is_level(self, level: float) -> bool:
        least_is_in = NAMES[self.objective] != "sigma"
        return 0 < level < math.inf or (least_is_in and level == 0)  # false for a NaN

    def _distance(self, level: float, known: float) -> float:
        if not self._is_level(level):
            return math.inf
        if level == known:
            return 0.0
        if NAMES[self.objective] == "timestep":
            return abs(level - known)
        return abs(math.log(level / known)) if level > 0 and known > 0 else math.inf

    def _absent(self, level: float, nearest: int) -> UserError:
        name = NAMES[self.objective]
        near = f"the nearest calibrated level is {self.values[nearest]:.6g}" if self.values else "it has none"
        return UserError(
            f"The sampler is at noise level {name} = {level:.6g}, for which there are no statistics: {near}. The calibration "
            f"was made with another schedule, whose {len(self)} levels are {listed(self.values)}. Generate with the schedule "
            "of the calibration, or calibrate and quantize again with this one."
        )


def listed(levels: Iterable[float]) -> str:
    """Levels in a sentence, the middle of many left out."""
    words = [f"{level:.6g}" for level in levels]
    return ", ".join(words if len(words) <= 12 else [*words[:6], "...", *words[-5:]])
