"""The text conditioner of `mini`, trained together with its DiT, in the place of Stable Audio Open's T5."""

from typing import Any

import torch
from torch import Tensor

from audioptq.models.stable_audio.upstream import Conditioner
from audioptq.models.word_encoder import WordEncoder


class WordTransformerConditioner(Conditioner):
    """Gives captions to the DiT's cross-attention as stable-audio-tools' T5 conditioner does.

    Args:
        output_dim: Width that the cross-attention expects.
        vocabulary: Words the encoder knows.
        dim: Width of the encoder.
        encoder: Further arguments of `WordEncoder`.
    """

    def __init__(self, output_dim: int, vocabulary: list[str], dim: int = 128, **encoder: Any) -> None:
        super().__init__(dim, output_dim)
        self.encoder = WordEncoder(vocabulary, dim, **encoder)

    def forward(self, x: list[str], device: torch.device | str | None = None) -> list[Tensor]:
        """Embeddings `[batch, tokens, output_dim]`, zero where padded since the DiT ignores masks, and the mask."""
        hidden, present = self.encoder(x)
        return [self.proj_out(hidden) * present.unsqueeze(-1), present]

    def dropped(self, caption: str) -> list[str]:
        """Words of `caption` that the vocabulary lacks."""
        return self.encoder.tokenizer.dropped(caption)
