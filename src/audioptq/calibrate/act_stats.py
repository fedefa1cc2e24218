"""What calibration leaves on disk: statistics of every layer's input, over one schedule of noise levels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audioptq.calibrate.statistics import check_names, statistic, statistics, tensor_names
from audioptq.errors import DamagedArtifactError, UserError, damaged
from audioptq.files.artifacts import read_tensors, write_tensors
from audioptq.noise_levels import NoiseLevels

CURE = "Delete the file and run snakemake to calibrate again."


class LayerStats(Mapping[str, Tensor]):
    """Statistics of one layer's input, by the names of their tensors; `stats.absmax` is `stats["absmax"]`.

    Args:
        *ranges: The tensors of the statistic `range` in its order: `absmax`, `min`, `max`.
        **tensors: Those of any statistics.
    """

    def __init__(self, *ranges: Tensor, **tensors: Tensor) -> None:
        self._tensors = dict(zip(statistics()["range"], ranges, strict=False)) | tensors

    def __getitem__(self, name: str) -> Tensor:
        """A tensor by its name."""
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        """Names of the tensors."""
        return iter(self._tensors)

    def __len__(self) -> int:
        """How many tensors there are."""
        return len(self._tensors)

    def __getattr__(self, name: str) -> Tensor:
        """A tensor by its name."""
        tensors = self.__dict__.get("_tensors", {})
        if name not in tensors:
            raise AttributeError(f"the statistics have no tensor {name!r}, only {', '.join(tensors)}")
        return tensors[name]


@dataclass(frozen=True)
class ActStats:
    """Activation statistics of a model over one denoising schedule.

    Attributes:
        levels: Noise levels of the schedule, in the order of sampling: the key by which a row is found again.
        layers: Statistics by layer name.
        metadata: How they were made (model, sampler, prompts).
        statistics: Names of the statistics that every layer has.
    """

    levels: NoiseLevels
    layers: Mapping[str, LayerStats]
    metadata: dict[str, Any] = field(default_factory=dict)
    statistics: tuple[str, ...] = ("range",)

    def save(self, path: str | Path) -> None:
        """Writes `levels` (float64) and, per layer and tensor of a statistic, `{layer}.{tensor}`."""
        tensors = {"levels": torch.tensor(self.levels.values, dtype=torch.float64)}
        for layer, stats in self.layers.items():
            tensors |= {f"{layer}.{name}": stats[name] for name in tensor_names(self.statistics)}
        record = {"objective": self.levels.objective, "statistics": list(self.statistics)}
        write_tensors(path, tensors, {**self.metadata, **record})

    @classmethod
    def load(cls, path: str | Path) -> "ActStats":
        """Reads and checks a statistics file.

        Raises:
            DamagedArtifactError: If the file is damaged, incomplete, holds a tensor of none of its statistics, or values that
                are not finite.
        """
        tensors, metadata = read_tensors(path)
        values, objective = tensors.pop("levels", None), metadata.pop("objective", None)
        names = metadata.pop("statistics", None)
        is_named = (
            isinstance(objective, str) and isinstance(names, list) and all(isinstance(name, str) for name in names)
        )
        if values is None or values.ndim != 1 or not is_named or not names or not tensors:
            raise _damaged(path, "it has no `levels`, no objective, no statistics or no layers")
        try:
            levels = NoiseLevels(objective, values.tolist())
            check_names(names)
        except UserError as error:
            raise _damaged(path, str(error).rstrip(".")) from error
        by_layer: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            layer, _, name = key.rpartition(".")
            if name not in tensor_names(names):
                raise _damaged(path, f"its tensor {key} belongs to none of its statistics ({', '.join(names)})")
            by_layer.setdefault(layer, {})[name] = tensor
        for layer, found in by_layer.items():
            try:
                check_tensors(found, names, len(levels))
            except ValueError as error:
                raise _damaged(path, f"layer {layer} {error}") from error
        layers = {layer: LayerStats(**by_layer[layer]) for layer in sorted(by_layer)}
        return cls(levels, layers, metadata, tuple(names))


def check_tensors(tensors: Mapping[str, Tensor], names: Sequence[str], rows: int) -> None:
    """Checks the tensors of one layer.

    Args:
        tensors: By name.
        names: Of the statistics.
        rows: Noise levels of the schedule.

    Raises:
        ValueError: If one is absent, not finite or of a wrong shape, as a clause about the layer.
    """
    missing = [name for name in tensor_names(names) if name not in tensors]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"has a `{name}` with values that are not finite")
    for name in names:
        statistic(name).check(tensors, rows)


def _damaged(path: str | Path, why: str) -> DamagedArtifactError:
    return damaged(f"The file of activation statistics {path}", why, CURE)
