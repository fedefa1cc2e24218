"""Smallest, largest and absolutely largest value of every input channel at every noise level (eq. 1 of the audio-DiT paper)."""

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

TENSORS = ("absmax", "min", "max")


class Statistic:
    """Ranges, each float32 `[row, channel]`."""

    def __init__(self, rows: int, channels: int) -> None:
        self.low = torch.full((rows, channels), torch.inf)
        self.high = torch.full((rows, channels), -torch.inf)

    def observe(self, tokens: Tensor, row: int) -> None:
        """Widens the ranges of a row."""
        # Two reductions: over the first axis torch.aminmax takes ten times as long on a CPU.
        self.low[row] = torch.minimum(self.low[row], tokens.amin(0).float().cpu())
        self.high[row] = torch.maximum(self.high[row], tokens.amax(0).float().cpu())

    def tensors(self) -> dict[str, Tensor]:
        """The ranges so far, infinite in a row that was never met."""
        return {"absmax": torch.maximum(self.low.abs(), self.high.abs()), "min": self.low, "max": self.high}


def merge(shards: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Ranges of ranges, exactly."""
    choose = {"absmax": torch.maximum, "min": torch.minimum, "max": torch.maximum}
    return {name: reduce(widest, [shard[name] for shard in shards]) for name, widest in choose.items()}


def check(tensors: Mapping[str, Tensor], rows: int) -> None:
    """Checks that all three are `[rows, channels]`.

    Raises:
        ValueError: If one is not.
    """
    wanted = (rows, *tensors["absmax"].shape[1:2])
    for name in TENSORS:
        if tensors[name].shape != wanted or len(wanted) != 2:
            raise ValueError(f"has `{name}` in the shape {list(tensors[name].shape)}, not [{rows}, channels]")
