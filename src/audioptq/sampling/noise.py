"""Noise that depends on (seed, clip_id) alone, so that recipes are paired clip by clip.

Neither batch size, order, device nor shard changes a clip's noise: each clip has its own generators, on the CPU in float32.
"""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NoiseSampler = Callable[[Tensor, Tensor], Tensor]


def clip_seed(seed: int, clip_id: str) -> int:
    """A 31-bit seed of one clip: half the first 32 bits of SHA-256 of "seed:clip_id"."""
    return int(hashlib.sha256(f"{seed}:{clip_id}".encode()).hexdigest()[:8], 16) >> 1


def initial_noise(seed: int, clip_ids: Sequence[str], shape: tuple[int, ...]) -> Tensor:
    """Standard normal latents `[batch, *shape]`."""
    generators = [torch.Generator().manual_seed(clip_seed(seed, clip_id)) for clip_id in clip_ids]
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def step_noise(seed: int, clip_ids: Sequence[str], like: Tensor) -> NoiseSampler:
    """The noise that stochastic samplers add: standard normal latents of the shape of `like`, new ones at each call.

    For the solvers of stochastic differential equations these are the normalised increments of one Brownian path per clip.
    Over the disjoint steps of a schedule they are independent, so they are drawn one by one. k-diffusion's tree can also be
    asked again, and for other intervals of the same path, which no sampler here does; it takes an eighth of the time of
    generating with `mini`.
    """
    generators = [torch.Generator().manual_seed(clip_seed(seed, f"{clip_id}/sde")) for clip_id in clip_ids]

    def draw(_level: Tensor, _next_level: Tensor) -> Tensor:
        return torch.stack([torch.randn(like.shape[1:], generator=generator) for generator in generators]).to(like)

    return draw
