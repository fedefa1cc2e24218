"""Steps of a loaded model: what it is given, and how long it takes."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from audioptq.bench.plan import Case
from audioptq.machine.device import synchronise
from audioptq.machine.memory import keep_freed
from audioptq.models.base import AudioModel
from audioptq.sampling.sampler import SamplerSettings, sample

CAPTION = "a dog barks"


@torch.inference_mode()
def conditionings(model: AudioModel, batches: Sequence[int]) -> dict[int, Any]:
    """Conditioning of a caption's longest clip, by batch, on the CPU."""
    found = {batch: model.condition([CAPTION] * batch, [model.max_seconds] * batch) for batch in set(batches)}
    on_cpu: dict[int, Any] = tree_map_only(Tensor, lambda tensor: tensor.cpu(), found)
    return on_cpu


class Stepper:
    """Takes guided denoising steps of one model, each at the next noise level of the schedule.

    That is how a sampler walks: with smoothing per timestep, what a step has to make anew is within its time. The prompt stays
    the same, as within a generation.

    Args:
        model: Loaded, on its device.
        settings: The schedule.
        conditionings: By batch, of `conditionings`.
        seed: Of the inputs; speed does not depend on their values.
    """

    def __init__(
        self, model: AudioModel, settings: SamplerSettings, conditionings: Mapping[int, Any], seed: int
    ) -> None:
        self.model, self.settings, self.seed = model, settings, seed
        self._levels, self._taken = settings.levels(model.objective).values, 0
        self._conditionings = tree_map_only(Tensor, lambda tensor: tensor.to(model.device), dict(conditionings))
        keep_freed()  # as `sample` does for its steps

    @torch.inference_mode()
    def step(self, case: Case) -> float:
        """Seconds of one step."""
        shape = (case.batch, *self.model.latent_shape[:-1], case.latents)
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(self.seed)).to(self.model.device)
        level = torch.full((case.batch,), self._levels[self._taken % len(self._levels)], device=self.model.device)
        self._taken += 1
        synchronise(self.model.device)
        started = time.perf_counter()
        self.model.denoise(latents, level, self._conditionings[case.batch], self.settings.cfg_scale)
        synchronise(self.model.device)
        return time.perf_counter() - started

    @torch.inference_mode()
    def generate(self) -> float:
        """Seconds from a caption to a clip of the longest length: its conditioning, every step, and the decoding."""
        synchronise(self.model.device)
        started = time.perf_counter()
        captions, seconds = [CAPTION], [self.model.max_seconds]
        latents = sample(self.model, captions, seconds, clip_ids=["bench"], seed=self.seed, settings=self.settings)
        self.model.decode(latents).float().cpu()
        return time.perf_counter() - started
