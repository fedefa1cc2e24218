"""Streams activation ranges of linear layers while a model samples; memory does not grow with the number of prompts."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.errors import UserError
from audioptq.machine.device import synchronise
from audioptq.noise_levels import NoiseLevels


class ActObserver:
    """Keeps, per layer, the minimum and maximum of every input channel at every timestep.

    Both halves of classifier-free guidance run through the layers as one batch, so both are seen.

    Args:
        network: The module that holds the layers.
        layers: Names of linear layers in it.
        levels: Noise levels of the schedule.
        map_layer: Layer whose whole input is kept once, for the paper's figure 1.
        map_step: Row of `levels` at which it is kept.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Iterable[str],
        levels: NoiseLevels,
        map_layer: str | None = None,
        map_step: int = 0,
    ) -> None:
        self.levels = levels
        self.activation_map: Tensor | None = None
        self.seconds = 0.0
        self._row = -1
        self._ranges: dict[str, tuple[Tensor, Tensor]] = {}
        self._handles = []
        for name in layers:
            linear = network.get_submodule(name)
            assert isinstance(linear, nn.Linear), name
            shape = (len(levels), linear.in_features)
            self._ranges[name] = (torch.full(shape, torch.inf), torch.full(shape, -torch.inf))
            hook = self._hook(name, map_step if name == map_layer else None)
            self._handles.append(linear.register_forward_pre_hook(hook))

    def _hook(self, name: str, map_step: int | None) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        low, high = self._ranges[name]

        def observe(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            tokens = args[0].detach().flatten(0, -2)
            synchronise(tokens.device)  # the network's own time is not observing time
            started = time.perf_counter()
            # Two reductions: over the first axis torch.aminmax takes ten times as long on a CPU.
            low[self._row] = torch.minimum(low[self._row], tokens.amin(0).float().cpu())
            high[self._row] = torch.maximum(high[self._row], tokens.amax(0).float().cpu())
            if map_step == self._row and self.activation_map is None:
                self.activation_map = args[0][0].float().cpu().clone()
            self.seconds += time.perf_counter() - started

        return observe

    def set_level(self, level: float) -> None:
        """Says at which noise level the next pass runs.

        Raises:
            UserError: If the level is not one of the schedule's.
        """
        self._row = self.levels.row(level)

    def close(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()

    def act_stats(self) -> ActStats:
        """The statistics so far.

        Raises:
            UserError: If a layer was not reached at every timestep.
        """
        layers = {}
        for name, (low, high) in self._ranges.items():
            if not (torch.isfinite(low).all() and torch.isfinite(high).all()):
                raise UserError(
                    f"Calibration never reached layer {name} at every timestep, or met values that are not finite: "
                    "check the model's weights and that calibration.n_prompts is at least 1."
                )
            layers[name] = LayerStats(torch.maximum(low.abs(), high.abs()), low, high)
        return ActStats(self.levels, layers)
