"""`clap_mini`: a small contrastive pair of audio and text encoders (after Wu et al. 2023, LAION-CLAP)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioptq.audio.log_mel import LogMel
from audioptq.embed.base import Clip
from audioptq.embed.mini import SAMPLE_RATE_HZ, mono_batch, read_network
from audioptq.embed.self_test import check_audio
from audioptq.embed.tagger_mini import AudioBackbone
from audioptq.models.word_encoder import WordEncoder

METRICS = {"clap_mini": {"statistic": "clap", "label": "CLAP score (mini)"}}
WEIGHTS = {"mini": ["clap_mini"]}

EMBEDDING_DIM = 128


class ClapMini(nn.Module):
    """Unit vectors of audio and of captions; their inner product says how well they match.

    Args:
        vocabulary: Words the text encoder knows; others are dropped.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.log_mel = LogMel(SAMPLE_RATE_HZ)
        self.audio_encoder = AudioBackbone(EMBEDDING_DIM, width=24)
        self.text_encoder = WordEncoder(vocabulary, EMBEDDING_DIM, depth=1, dropout=0.1)
        self.text_project = nn.Linear(EMBEDDING_DIM, EMBEDDING_DIM)
        self.log_temperature = nn.Parameter(torch.tensor(2.0))

    def embed_log_mel(self, log_mel: Tensor) -> Tensor:
        """Unit vectors `[batch, 128]` of log-mel frames `[batch, frames, 64]`."""
        return F.normalize(self.audio_encoder(log_mel), dim=-1)

    def embed_audio(self, audio: Tensor) -> Tensor:
        """Unit vectors `[batch, 128]` of mono 16 kHz audio `[batch, samples]`."""
        return self.embed_log_mel(self.log_mel(audio))

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Unit vectors `[batch, 128]` of captions."""
        hidden, present = self.text_encoder(captions)
        mean = hidden.sum(1) / present.sum(1, keepdim=True)
        return F.normalize(self.text_project(mean), dim=-1)

    def contrastive_loss(self, log_mel: Tensor, captions: Sequence[str]) -> Tensor:
        """Symmetric cross-entropy over the batch; clips with the same caption count as matches of each other."""
        similarity = self.embed_log_mel(log_mel) @ self.embed_text(captions).T * self.log_temperature.exp()
        same = torch.tensor([[a == b for b in captions] for a in captions], device=similarity.device).float()
        target = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2


class ClapMiniEvaluator:
    """`ClapMini` as the embed stage asks for it (base.TextEvaluator).

    Args:
        network: With its weights.
        device: Where it runs.
    """

    def __init__(self, network: ClapMini, device: str) -> None:
        self.network, self.device = network.to(device), device
        self.metadata: dict[str, Any] = {}

    @torch.inference_mode()
    def embed(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        """`audio` `[128]` of each clip."""
        return [{"audio": self.network.embed_audio(mono_batch(*clip).to(self.device))[0].cpu()} for clip in clips]

    @torch.inference_mode()
    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Unit vectors `[captions, 128]`, one caption at a time, so that none is padded to another's length."""
        return torch.cat([self.network.embed_text([caption]) for caption in captions]).cpu()

    def dropped_words(self, caption: str) -> int:
        """Words outside the vocabulary."""
        return len(self.network.text_encoder.tokenizer.dropped(caption))

    def self_test(self) -> None:
        """See `self_test.check_audio`."""
        check_audio("clap_mini", self, {"audio": (EMBEDDING_DIM,)}, seconds=2.1)


def load(files: Mapping[str, Path], variant: str, device: str = "cpu") -> ClapMiniEvaluator:
    """Reads the pair of encoders from its safetensors file."""
    network, _ = read_network(files["clap_mini"], lambda made: ClapMini(made["vocabulary"]), "clap_mini")
    return ClapMiniEvaluator(network, device)
