"""Streams statistics of layers' inputs while a model samples; memory does not grow with the number of prompts."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from audioptq.calibrate.act_stats import ActStats, LayerStats, check_tensors
from audioptq.calibrate.statistics import Statistic, statistic
from audioptq.errors import UserError
from audioptq.machine.device import synchronise
from audioptq.noise_levels import NoiseLevels
from audioptq.site import Site


class ActObserver:
    """Feeds every input of the chosen layers, as tokens `[n, channels]`, to the statistics that are asked for.

    Both halves of classifier-free guidance run through the layers as one batch, so both are seen.

    Args:
        network: The module that holds the layers.
        sites: The layers.
        levels: Noise levels of the schedule.
        statistics: Names of the statistics.
        map_layer: Layer whose whole input is kept once, for the paper's figure 1.
        map_step: Row of `levels` at which it is kept.

    Raises:
        UserError: If there is no statistic of a name.
    """

    def __init__(
        self,
        network: nn.Module,
        sites: Sequence[Site],
        levels: NoiseLevels,
        *,
        statistics: Sequence[str] = ("range",),
        map_layer: str | None = None,
        map_step: int = 0,
    ) -> None:
        self.levels = levels
        self.statistics = tuple(statistics)
        self.activation_map: Tensor | None = None
        self.seconds = 0.0
        self._row = -1
        self._map = (map_layer, map_step)
        modules = {site.name: network.get_submodule(site.name) for site in sites}
        kinds = [statistic(name).Statistic for name in self.statistics]
        self._streams: dict[str, list[Statistic]] = {
            name: [kind(len(levels), _channels(module)) for kind in kinds] for name, module in modules.items()
        }
        self._is_reached = {name: torch.zeros(len(levels), dtype=torch.bool) for name in modules}
        self._handles = [modules[site.name].register_forward_pre_hook(self._hook(site)) for site in sites]

    def _hook(self, site: Site) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        streams, is_reached = self._streams[site.name], self._is_reached[site.name]

        def observe(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].detach()
            synchronise(x.device)  # the network's own time is not observing time
            started = time.perf_counter()
            tokens = tokens_of(x, site.kind)
            for stream in streams:
                stream.observe(tokens, self._row)
            is_reached[self._row] = True
            if self.activation_map is None and self._map == (site.name, self._row):
                self.activation_map = tokens_of(x[:1], site.kind).float().cpu().clone()
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
            UserError: If a layer was not reached at every timestep, or met values that are not finite.
        """
        layers = {}
        for name, streams in self._streams.items():
            if not self._is_reached[name].all():
                raise UserError(
                    f"Calibration never reached layer {name} at every timestep: check that calibration.n_prompts is at least 1, "
                    "and that the model runs the layer in every pass."
                )
            tensors = {key: tensor for stream in streams for key, tensor in stream.tensors().items()}
            try:
                check_tensors(tensors, self.statistics, len(self.levels))
            except ValueError as error:
                raise UserError(f"Calibration: layer {name} {error}: check the model's weights.") from error
            layers[name] = LayerStats(**tensors)
        return ActStats(self.levels, layers, statistics=self.statistics)


def tokens_of(x: Tensor, kind: str) -> Tensor:
    """A layer's input as tokens `[n, channels]`.

    Args:
        x: `[batch, ..., channels]` of a linear layer, `[batch, channels, *space]` of a convolution.
        kind: Of the site.
    """
    return (x if kind == "linear" else x.movedim(1, -1)).flatten(0, -2)


def rows_of(weight: Tensor, kind: str) -> Tensor:
    """A layer's weight as `[n, channels]`: a row for each output channel and kernel position, a column for each input channel.

    Args:
        weight: As the module has it; a transposed convolution's begins with the input channels.
        kind: Of the site.
    """
    return weight.movedim(0 if kind.startswith("conv_transpose") else 1, -1).flatten(0, -2)


def _channels(module: nn.Module) -> int:
    return int(module.in_features if isinstance(module, nn.Linear) else module.in_channels)  # type: ignore[arg-type]
