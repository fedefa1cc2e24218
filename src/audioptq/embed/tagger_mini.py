"""`tagger_mini`: a small audio tagger over the synthesised sound classes, for `kl_mini`, `fd_mini` and both to full precision."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audioptq.audio.log_mel import LogMel
from audioptq.embed.base import Clip
from audioptq.embed.mini import SAMPLE_RATE_HZ, mono_batch, read_network
from audioptq.embed.self_test import check_audio

METRICS = {
    "kl_mini": {"statistic": "kl", "label": "KL(generated‖reference) (mini)"},
    "fd_mini": {"statistic": "fd", "label": "FD (mini)"},
    "kl_mini_fp32": {"statistic": "kl", "target": "fp32", "label": "KL(generated‖fp32) (mini)"},
    "fd_mini_fp32": {"statistic": "fd", "target": "fp32", "label": "FD to fp32 (mini)"},
}
WEIGHTS = {"mini": ["tagger_mini"]}

WINDOW_SECONDS = 1.024  # windows overlap by half
EMBEDDING_DIM = 64


class AudioBackbone(nn.Module):
    """Convolutions over log-mel frames, pooled over time and frequency, to one vector per clip.

    Args:
        dim: Width of the vector.
        width: Channels of the first convolution; each of the four stages but the last doubles them.
    """

    def __init__(self, dim: int, width: int = 16) -> None:
        super().__init__()
        channels = [1, width, 2 * width, 4 * width, 4 * width]
        stages: list[nn.Module] = []
        for before, after in pairwise(channels):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        self.project = nn.Linear(3 * channels[-1], dim)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Vectors `[batch, dim]` of log-mel frames `[batch, frames, n_mels]`, any number of frames."""
        features = self.stages((log_mel.unsqueeze(1) + 12) / 5)  # about zero mean and unit deviation
        over_time = features.mean(3)  # [batch, channels, frames]: the mean over bands
        pooled = torch.cat([over_time.mean(2), over_time.amax(2), features.mean(2).amax(2)], dim=1)
        return self.project(pooled)


class TaggerMini(nn.Module):
    """Logits over the sound classes, and the penultimate embedding.

    Args:
        n_classes: Sound classes.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.log_mel = LogMel(SAMPLE_RATE_HZ)
        self.backbone = AudioBackbone(EMBEDDING_DIM)
        self.classify = nn.Linear(EMBEDDING_DIM, n_classes)

    def forward_log_mel(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[batch, n_classes]` and embedding `[batch, 64]` of log-mel frames `[batch, frames, 64]`."""
        embedding = torch.relu(self.backbone(log_mel))
        return self.classify(embedding), embedding

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[batch, n_classes]` of mono audio `[batch, samples]`, and embeddings `[batch, windows, 64]`."""
        frames = self.log_mel(audio)
        window = round(WINDOW_SECONDS * SAMPLE_RATE_HZ) // self.log_mel.hop_length
        windows = frames.unfold(1, window, window // 2).transpose(2, 3)  # [batch, windows, frames, n_mels]
        _, embedding = self.forward_log_mel(windows.flatten(0, 1))
        return self.forward_log_mel(frames)[0], embedding.unflatten(0, windows.shape[:2])


class TaggerEvaluator:
    """`TaggerMini` as the embed stage asks for it (base.Evaluator): logits and windows of each clip.

    Args:
        network: With its weights.
        metadata: Of the weights file: `classes`.
        device: Where it runs.
    """

    def __init__(self, network: TaggerMini, metadata: Mapping[str, Any], device: str) -> None:
        self.network, self.device = network.to(device), device
        self.metadata: dict[str, Any] = {"classes": metadata["classes"]}

    @torch.inference_mode()
    def embed(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        """`logits` `[classes]` and `windows` `[windows, 64]` of each clip."""
        rows = []
        for clip in clips:
            logits, windows = self.network(mono_batch(*clip).to(self.device))
            rows.append({"logits": logits[0].cpu(), "windows": windows[0].cpu()})
        return rows

    def self_test(self) -> None:
        """See `self_test.check_audio`; two seconds are 3 windows."""
        n_classes = len(self.metadata["classes"])
        check_audio("tagger_mini", self, {"logits": (n_classes,), "windows": (3, EMBEDDING_DIM)}, seconds=2.1)


def load(files: Mapping[str, Path], variant: str, device: str = "cpu") -> TaggerEvaluator:
    """Reads the tagger from its safetensors file."""
    network, metadata = read_network(files["tagger_mini"], lambda made: TaggerMini(len(made["classes"])), "tagger_mini")
    return TaggerEvaluator(network, metadata, device)
