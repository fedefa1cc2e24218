"""What the embed stage asks of an evaluator, whatever its network: one file of this folder per evaluator.

Its function `load(files, variant, device="cpu")` reads the weights, given by their names in workflow/weights.tsv.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

Clip = tuple[np.ndarray, int]


class Evaluator(Protocol):
    """A frozen network with its own preprocessing.

    Attributes:
        metadata: What goes into every embedding file beside the tensors, JSON-able: `classes`, for example.
    """

    metadata: dict[str, Any]

    def embed(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        """Embeds audio `[channels, samples]` float32 with its sample rate in Hz.

        Returns:
            For each clip, CPU float32 tensors: `audio` `[dim]`, `logits` `[classes]`, `windows` `[windows, dim]`; whichever
            the evaluator's metrics need. Resampling, down-mixing, normalisation and padding follow the published protocol.
        """
        ...

    def self_test(self) -> None:
        """Proves itself on synthetic audio; runs before anything is embedded.

        Raises:
            DamagedArtifactError: If shape, range or repeatability are not what the published network has.
        """
        ...


class TextEvaluator(Evaluator, Protocol):
    """An evaluator that also embeds captions."""

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Text embeddings `[captions, dim]`."""
        ...

    def dropped_words(self, caption: str) -> int:
        """Words of the caption that never reach the network."""
        ...
