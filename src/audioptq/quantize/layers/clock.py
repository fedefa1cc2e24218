"""Tells the quantized layers of a model which denoising timestep they are in."""

from audioptq.noise_levels import NoiseLevels


class TimestepClock:
    """The current row of the calibrated noise levels, shared by all quantized layers of a model.

    Timesteps are found by noise level, not by loop index, so that statistics of one schedule are never applied silently
    to another. The sampler sets the level before every call of the denoiser.

    Attributes:
        levels: The calibrated noise levels, in calibration order.
    """

    def __init__(self, levels: NoiseLevels) -> None:
        self.levels = levels
        self._index: int | None = None

    @property
    def index(self) -> int:
        """Row of the current timestep.

        Raises:
            RuntimeError: If the sampler never called `set_level`.
        """
        if self._index is None:
            raise RuntimeError("a timestep-dependent layer ran before TimestepClock.set_level was called")
        return self._index

    def set_level(self, level: float) -> None:
        """Moves to the calibrated noise level that equals `level` within the tolerance of the objective.

        Raises:
            UserError: If there is none: the statistics were calibrated with another schedule.
        """
        self._index = self.levels.row(level)

    def check(self, schedule: NoiseLevels) -> None:
        """Checks a whole schedule before a sampler sets to work (see `NoiseLevels.check`).

        Raises:
            UserError: If a level of it is not calibrated, or it is of another objective.
        """
        self.levels.check(schedule)
