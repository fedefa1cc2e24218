"""A small text encoder over a closed vocabulary of words, for `mini` and its contrastive evaluator."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

WORD = re.compile(r"[a-z']+")
PAD, START = 0, 1
N_SPECIAL = 2


def split_words(caption: str) -> list[str]:
    """Lower-case words of a caption; punctuation, digits and letters beyond a-z separate words."""
    return WORD.findall(caption.lower())


class WordTokenizer:
    """Maps captions to ids over a closed vocabulary, and says which words it had to drop."""

    def __init__(self, vocabulary: Sequence[str], max_length: int) -> None:
        self.ids = {word: index + N_SPECIAL for index, word in enumerate(vocabulary)}
        self.max_length = max_length

    def dropped(self, caption: str) -> list[str]:
        """Words of `caption` that the vocabulary lacks, in order."""
        return [word for word in split_words(caption) if word not in self.ids]

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Ids `[batch, max_length]`: a start token, the known words, padding; words past the end are cut."""
        rows = [[START, *(self.ids[w] for w in split_words(c) if w in self.ids)][: self.max_length] for c in captions]
        return torch.tensor([row + [PAD] * (self.max_length - len(row)) for row in rows])


class WordEncoder(nn.Module):
    """Turns captions into `[batch, max_length, dim]` embeddings, zero where padded, and a mask `[batch, max_length]`.

    Args:
        vocabulary: The words, in the order of their ids.
        dim: Width.
        depth: Transformer layers.
        heads: Attention heads.
        max_length: Tokens, the start token included.
        dropout: While training only.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        dim: int = 128,
        depth: int = 2,
        heads: int = 4,
        max_length: int = 24,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.tokenizer = WordTokenizer(vocabulary, max_length)
        self.embedding = nn.Embedding(len(vocabulary) + N_SPECIAL, dim, padding_idx=PAD)
        self.position = nn.Parameter(0.02 * torch.randn(max_length, dim))
        layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings and mask of captions."""
        ids = self.tokenizer(captions).to(self.position.device)
        present = ids != PAD
        hidden = self.encoder(self.embedding(ids) + self.position, src_key_padding_mask=~present)
        return self.norm(hidden) * present.unsqueeze(-1), present
