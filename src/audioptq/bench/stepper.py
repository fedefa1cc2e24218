"""Steps of a loaded model: what it is given, and how long it takes."""

import time
from typing import Any

import torch
from torch import Tensor

from audioptq.bench.plan import Case
from audioptq.machine.device import synchronise
from audioptq.machine.memory import keep_freed
from audioptq.models.base import AudioModel
from audioptq.sampling.sampler import SamplerSettings, sample

CAPTION = "a dog barks"


class Stepper:
    """Takes guided denoising steps of one model, each at the next noise level of the schedule.

    That is how a sampler walks: with smoothing per timestep, what a step has to make anew is within its time. The prompt stays
    the same, as within a generation.

    Args:
        model: Loaded, on its device.
        settings: The schedule.
        seed: Of the inputs; speed does not depend on their values.
    """

    def __init__(self, model: AudioModel, settings: SamplerSettings, seed: int) -> None:
        self.model, self.settings, self.seed = model, settings, seed
        self._levels = torch.tensor(settings.levels(model.objective).values).to(model.device)
        self._taken = 0
        self._inputs: dict[Case, tuple[Tensor, dict[str, Any]]] = {}
        keep_freed()  # as `sample` does for its steps

    @torch.inference_mode()
    def step(self, case: Case) -> float:
        """Seconds of one step."""
        if case not in self._inputs:
            self._inputs = {case: self._make_inputs(case)}
        noise, conditioning = self._inputs[case]
        level = self._levels[self._taken % len(self._levels)]
        self._taken += 1
        alpha, sigma = self.model.objective.alpha_sigma(level)
        latents = noise * (alpha**2 + sigma**2) ** 0.5
        levels = level.expand(case.batch)
        synchronise(self.model.device)
        started = time.perf_counter()
        self.model.denoise(latents, levels, conditioning, self.settings.cfg_scale)
        synchronise(self.model.device)
        return time.perf_counter() - started

    def generate(self) -> float:
        """Seconds from a caption to a clip of the longest length: its conditioning, every step, and the decoding."""
        synchronise(self.model.device)
        started = time.perf_counter()
        latents = sample(
            self.model, [CAPTION], [self.model.max_seconds],
            clip_ids=["bench"], seed=self.seed, settings=self.settings,
        )  # fmt: skip
        with torch.inference_mode():
            self.model.decode(latents).float().cpu()
        return time.perf_counter() - started

    def _make_inputs(self, case: Case) -> tuple[Tensor, dict[str, Any]]:
        generator = torch.Generator().manual_seed(self.seed)
        channels = self.model.latent_shape[0]
        noise = torch.randn(case.batch, channels, case.latents, generator=generator)
        return noise.to(self.model.device), make_conditioning(self.model, case.batch, generator)


def make_conditioning(model: AudioModel, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Conditioning of a batch; random embeddings of a full caption's shape in place of a T5's, which is no part of a step."""
    network = model.network
    prompt = network.conditioner.conditioners["prompt"]
    entries = {entry["id"]: entry for entry in model.config["model"]["conditioning"]["configs"]}
    if entries["prompt"]["type"] != "t5":
        return model.condition([CAPTION] * batch, [model.max_seconds] * batch)
    width = model.config["model"]["conditioning"]["cond_dim"]
    embedding = torch.randn(batch, prompt.max_length, width, generator=generator).to(model.device)
    tensors = {"prompt": (embedding, torch.ones(batch, prompt.max_length, dtype=torch.bool, device=model.device))}
    for name in entries.keys() - {"prompt"}:
        tensors[name] = network.conditioner.conditioners[name]([model.max_seconds] * batch, model.device)
    return dict(network.get_conditioning_inputs(tensors))
