"""`clap_mini`: a small contrastive pair of audio and text encoders (after Wu et al. 2023, LAION-CLAP)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioptq.audio.log_mel import LogMel
from audioptq.embed.tagger_mini import SAMPLE_RATE_HZ, AudioBackbone
from audioptq.models.word_encoder import WordEncoder

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
