"""What the two embedded evaluators share: how their files are read and how a clip reaches them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audioptq.embed.prepare import mono, resample
from audioptq.errors import damaged
from audioptq.files.artifacts import read_tensors

SAMPLE_RATE_HZ = 16000
SHORTEST_SAMPLES = 2 * SAMPLE_RATE_HZ  # shorter clips are padded with silence: the tagger needs a whole window


def read_network(
    path: str | Path, build: Callable[[dict[str, Any]], nn.Module], name: str
) -> tuple[Any, dict[str, Any]]:
    """Builds a network from its file's metadata and reads its weights, frozen.

    Raises:
        DamagedArtifactError: If the file does not hold it.
    """
    tensors, metadata = read_tensors(path, foreign=True)
    try:
        network = build(metadata)
        network.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        cure = "Replace it with a whole copy of the same model."
        raise damaged(path, f"it does not hold the evaluator {name}: {error}", cure) from error
    return network.eval().requires_grad_(False), metadata


def mono_batch(audio: np.ndarray, sample_rate: int) -> Tensor:
    """A clip as the networks take it: mono `[1, samples]` at 16 kHz, at least two seconds."""
    samples = resample(mono(audio), sample_rate, SAMPLE_RATE_HZ)
    return torch.from_numpy(np.pad(samples, (0, max(0, SHORTEST_SAMPLES - len(samples))))).float().unsqueeze(0)
