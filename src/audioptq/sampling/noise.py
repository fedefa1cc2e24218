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


def initial_noise(seed: int, clip_ids: Sequence[str], shape: tuple[int, int]) -> Tensor:
    """Standard normal latents `[batch, *shape]`."""
    generators = [torch.Generator().manual_seed(clip_seed(seed, clip_id)) for clip_id in clip_ids]
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def brownian_noise(seed: int, clip_ids: Sequence[str], like: Tensor, sigma_min: float, sigma_max: float) -> NoiseSampler:
    """The stochastic samplers' noise: one Brownian tree per clip (k-diffusion), normalised increments between two sigmas."""
    from k_diffusion.sampling import BrownianTreeNoiseSampler

    seeds = [clip_seed(seed, f"{clip_id}/sde") for clip_id in clip_ids]
    sampler = BrownianTreeNoiseSampler(like.cpu().float(), sigma_min, sigma_max, seed=seeds)

    def increments(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return sampler(sigma.cpu(), sigma_next.cpu()).to(like)

    return increments
