"""What calibration leaves on disk: activation ranges per layer, denoising timestep and input channel."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audioptq.errors import DamagedArtifactError
from audioptq.files.artifacts import read_tensors, write_tensors
from audioptq.noise_levels import NAMES, NoiseLevels

RANGES = ("absmax", "min", "max")


@dataclass(frozen=True)
class LayerStats:
    """Ranges of one linear layer's input, each float32 `[timestep, channel]` (eq. 1 of the audio-DiT paper)."""

    absmax: Tensor
    min: Tensor
    max: Tensor


@dataclass(frozen=True)
class ActStats:
    """Activation statistics of a model over one denoising schedule.

    Attributes:
        levels: Noise levels of the schedule, in the order of sampling: the key by which a row is found again.
        layers: Ranges by layer name.
        metadata: How they were made (model, sampler, prompts).
    """

    levels: NoiseLevels
    layers: dict[str, LayerStats]
    metadata: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Writes `levels` (float64) and, per layer, `{layer}.absmax`, `{layer}.min`, `{layer}.max`."""
        tensors = {"levels": torch.tensor(self.levels.values, dtype=torch.float64)}
        for name, stats in self.layers.items():
            tensors |= {f"{name}.{kind}": getattr(stats, kind) for kind in RANGES}
        write_tensors(path, tensors, {**self.metadata, "objective": self.levels.objective})

    @classmethod
    def load(cls, path: str | Path) -> "ActStats":
        """Reads and checks a statistics file.

        Raises:
            DamagedArtifactError: If the file is damaged, incomplete, or holds values that are not finite.
        """
        tensors, metadata = read_tensors(path)
        levels, objective = tensors.pop("levels", None), metadata.pop("objective", None)
        names = {key.rpartition(".")[0] for key in tensors}
        if levels is None or objective not in NAMES or not names:
            raise DamagedArtifactError(_broken(path, "it has no `levels`, no objective or no layers"))
        layers = {}
        for name in sorted(names):
            parts = [tensors[f"{name}.{kind}"] for kind in RANGES if f"{name}.{kind}" in tensors]
            if len(parts) < len(RANGES) or any(part.ndim != 2 or len(part) != len(levels) for part in parts):
                raise DamagedArtifactError(_broken(path, f"layer {name} lacks absmax, min or max of every timestep"))
            if not all(torch.isfinite(part).all() for part in parts):
                raise DamagedArtifactError(_broken(path, f"layer {name} holds values that are not finite"))
            layers[name] = LayerStats(*parts)
        return cls(NoiseLevels(objective, levels.tolist()), layers, metadata)


def _broken(path: str | Path, why: str) -> str:
    return (
        f"The activation statistics {path} cannot be used: {why}. Delete the file and run snakemake to calibrate again."
    )
