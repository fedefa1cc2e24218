"""`vggish`: VGGish embeddings for `fad_vggish`, as frechet-audio-distance computes them.

Per clip: mean over channels, resampy to 16 kHz, log-mel examples of 96 frames (0.975 s of audio) every 0.96 s, 128 numbers
each. What is left at the end, under one example, is not heard; a clip shorter than one example is padded with zeros to one,
where the published code would leave it out. `use_pca=False, use_activation=False` there: no whitening or 8-bit rounding, and
no rectifier after the last layer (frechet-audio-distance 0.3.4, fad.py: `list(self.model.embeddings.children())[:-1]`).

Hershey et al., CNN architectures for large-scale audio classification, ICASSP 2017. Network and order of the features:
harritaylor/torchvggish; frontend: audioset_mel.py.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audioptq.embed.audioset_mel import EXAMPLE_FRAMES, EXAMPLE_SAMPLES, N_MELS, SAMPLE_RATE_HZ, log_mel_frames
from audioptq.embed.base import Clip
from audioptq.embed.prepare import Audio, mono, resample_kaiser_best
from audioptq.embed.self_test import check_audio, check_silence
from audioptq.embed.torch_file import fill_network, read_torch_file

METRICS = {"fad_vggish": {"statistic": "fad", "label": "FAD (VGGish)"}}
WEIGHTS = {"vggish": ["vggish"]}
LOG_OFFSET = 0.01
EMBEDDING_DIM = 128
CHUNK_EXAMPLES = 32
CHANNELS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")


class VGGishNetwork(nn.Module):
    """Six convolutions and three linear layers, under torchvggish's names."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for step in CHANNELS:
            if isinstance(step, int):
                layers += [nn.Conv2d(before, step, 3, padding=1), nn.ReLU()]
                before = step
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        wide = [nn.Linear(512 * 6 * 4, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
        self.embeddings = nn.Sequential(*wide, nn.Linear(4096, EMBEDDING_DIM))

    def forward(self, examples: Tensor) -> Tensor:
        """Embeddings `[batch, 128]` of log-mel examples `[batch, 1, 96, 64]`."""
        features = self.features(examples)
        return self.embeddings(features.permute(0, 2, 3, 1).flatten(1))  # channels last, as in TensorFlow


class VGGish:
    """VGGish of a clip's mean over channels.

    Args:
        network: With weights.
        device: Where it runs.
    """

    def __init__(self, network: VGGishNetwork, device: str) -> None:
        self.network = network.to(device)
        self.device = device
        self.metadata: dict[str, Any] = {}

    @torch.inference_mode()
    def embed(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        """`windows` `[examples, 128]` of each clip."""
        return [{"windows": self._embed_clip(audio, sample_rate)} for audio, sample_rate in clips]

    def _embed_clip(self, audio: Audio, sample_rate: int) -> Tensor:
        examples = torch.from_numpy(log_mel_examples(resample_kaiser_best(mono(audio), sample_rate, SAMPLE_RATE_HZ)))
        return torch.cat([self.network(chunk.to(self.device)).cpu() for chunk in examples.split(CHUNK_EXAMPLES)])

    def self_test(self) -> None:
        """Embeds a tone, noise and silence of two seconds, which are two examples.

        Raises:
            DamagedArtifactError: If the embeddings are not what a trained VGGish could give.
        """
        check_audio("vggish", self, {"windows": (2, EMBEDDING_DIM)}, seconds=2.0)
        check_silence("vggish", self)


def log_mel_examples(samples: Audio) -> Audio:
    """Examples `[n, 1, 96, 64]` of mono audio at 16 kHz: log of mel magnitudes plus 0.01, computed in float64.

    Frames are not centred: the first begins with the first sample.
    """
    log_mel = log_mel_frames(np.pad(samples, (0, max(0, EXAMPLE_SAMPLES - len(samples)))), LOG_OFFSET)
    n_examples = len(log_mel) // EXAMPLE_FRAMES
    return log_mel[: n_examples * EXAMPLE_FRAMES].reshape(n_examples, 1, EXAMPLE_FRAMES, N_MELS).astype(np.float32)


def load(files: Mapping[str, Path], variant: str, device: str = "cpu") -> VGGish:
    """Builds VGGish from torchvggish's `vggish-10086976.pth`.

    Raises:
        DamagedArtifactError: If the file is not that.
    """
    path = files[WEIGHTS[variant][0]]
    return VGGish(fill_network(VGGishNetwork(), read_torch_file(path), path, "torchvggish's weights"), device)
