"""Trains `mini`'s DiT with its text and timing conditioners: v objective, classifier-free guidance dropout."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audioptq.files.artifacts import write_tensors
from audioptq.machine.device import best_device
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.train.corpus import Corpus
from audioptq.train.loop import TrainSettings, log_uniform, train
from audioptq.train.mini_config import mini_config

CFG_DROPOUT = 0.1
UNIFORM_SHARE = 0.2
SIGMA_RANGE = (0.08, 150.0)


def draw_times(n: int) -> Tensor:
    """Diffusion times t in (0, 1), sigma = tan(t pi / 2): mostly log-uniform in sigma, where the text acts.

    A uniform t spends most of its draws where the caption makes no difference to the loss.
    """
    times = torch.atan(log_uniform(n, *SIGMA_RANGE)) * 2 / math.pi
    uniform = torch.rand(n) < UNIFORM_SHARE
    return torch.where(uniform, torch.rand(n), times)


def v_loss(network: Any, latents: Tensor, conditioning: list[dict[str, object]]) -> Tensor:
    """Mean squared error of v = alpha eps - sigma x at x_t = alpha x + sigma eps, alpha = cos(t pi / 2)."""
    times = draw_times(len(latents)).to(latents.device)
    noise = torch.randn_like(latents)
    angle = (times * math.pi / 2)[:, None, None]
    noised = angle.cos() * latents + angle.sin() * noise
    target = angle.cos() * noise - angle.sin() * latents
    inputs = network.get_conditioning_inputs(network.conditioner(conditioning, latents.device))
    output = network.model(noised, times, cfg_dropout_prob=CFG_DROPOUT, use_checkpointing=False, **inputs)
    return F.mse_loss(output, target)


def train_dit(
    corpus: Corpus, output: str | Path, checkpoint: str | Path, settings: TrainSettings, log: Callable[[str], None]
) -> None:
    """Fits the pretransform, trains the DiT with its conditioners, and writes all weights as float16.

    The weights are rounded to float16 once, here: what `fp32` computes with later are exactly these numbers. The file's
    metadata hold the model's configuration.
    """
    torch.manual_seed(settings.seed)
    config = mini_config()
    network = StableAudioModel(config).network
    explained = network.pretransform.fit(corpus.log_mel[:2000].float())
    log(f"the pretransform keeps {explained:.2%} of the log-mel variance")
    latents = torch.cat([network.pretransform.encode_log_mel(part.float()) for part in corpus.log_mel.split(512)])
    columns = corpus.scenes[["caption", "seconds_start", "seconds_total"]].rename(columns={"caption": "prompt"})
    conditioning = columns.to_dict("records")
    device = best_device()
    pretransform, network.pretransform = network.pretransform, None  # fitted, not trained
    network = network.to(device).requires_grad_(True)

    def loss_of(indices: Tensor) -> Tensor:
        batch = latents[indices].to(device)
        return v_loss(network, batch, [conditioning[index] for index in indices.tolist()])

    average: Any = train(network, loss_of, len(latents), settings, checkpoint, log)
    average.pretransform = pretransform
    state = average.state_dict()
    weights = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    write_tensors(output, weights, {"model_config": config, "steps": settings.steps, "explained_variance": explained})
