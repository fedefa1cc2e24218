"""`pann`: PANNs CNN14 embeddings for `fad_pann`, as frechet-audio-distance means to compute them: one per clip.

Per clip: mean over channels, resampy to 16 kHz, the whole clip through Cnn14_16k, 2048 numbers. The package itself takes
`out['embedding'].data[0]` of each clip, which drops the axis of clips, and its `score()` then returns -1 (0.3.4); a test keeps
watch. Its network is written again here since importing it also imports laion_clap, which asks the Hugging Face Hub for
tokenizers. A clip too short for the network's five halvings is padded with zeros to the shortest one that is not.

Kong et al., PANNs: large-scale pretrained audio neural networks for audio pattern recognition, IEEE/ACM TASLP 28 (2020);
qiuqiangkong/audioset_tagging_cnn, pytorch/models.py.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioptq.embed.base import Clip
from audioptq.embed.prepare import Audio, mono, resample_kaiser_best
from audioptq.embed.self_test import check_audio, check_silence
from audioptq.embed.torch_file import fill_network, not_of, read_torch_file

METRICS = {"fad_pann": {"statistic": "fad", "label": "FAD (PANNs CNN14)"}}
WEIGHTS = {"cnn14-16k": ["cnn14_16k"]}
SAMPLE_RATE_HZ = 16000
N_FFT, HOP_LENGTH, N_MELS = 512, 160, 64
LOWEST_HZ, HIGHEST_HZ = 50, 8000
N_CLASSES = 527
CHANNELS = (1, 64, 128, 256, 512, 1024, 2048)
EMBEDDING_DIM = 2048
SHORTEST_SAMPLES = 31 * HOP_LENGTH  # 32 frames, which five halvings make one


class ConvBlock(nn.Module):
    """Two convolutions with batch normalisation, then the mean over squares of `pool`."""

    def __init__(self, before: int, after: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.pool = pool

    def forward(self, features: Tensor) -> Tensor:
        """`[batch, after, frames / pool, bands / pool]` of `[batch, before, frames, bands]`."""
        features = F.relu(self.bn1(self.conv1(features)))
        return F.avg_pool2d(F.relu(self.bn2(self.conv2(features))), self.pool)


class Cnn14(nn.Module):
    """Cnn14_16k up to its embedding, under the published names; its dropouts and its augmentation act in training only."""

    def __init__(self) -> None:
        super().__init__()
        from torchlibrosa.stft import LogmelFilterBank, Spectrogram

        # Fourier kernels and mel filters are tensors of the weights file, and taken from there.
        self.spectrogram_extractor = Spectrogram(N_FFT, HOP_LENGTH, N_FFT)
        self.logmel_extractor = LogmelFilterBank(
            SAMPLE_RATE_HZ, N_FFT, N_MELS, LOWEST_HZ, HIGHEST_HZ, ref=1.0, amin=1e-10, top_db=None
        )
        self.bn0 = nn.BatchNorm2d(N_MELS)
        for index, (before, after) in enumerate(pairwise(CHANNELS), start=1):
            self.add_module(f"conv_block{index}", ConvBlock(before, after, pool=1 if after == EMBEDDING_DIM else 2))
        self.fc1 = nn.Linear(EMBEDDING_DIM, EMBEDDING_DIM)
        self.fc_audioset = nn.Linear(
            EMBEDDING_DIM, N_CLASSES
        )  # the tagger's last layer: in the file, not in the embedding

    def forward(self, audio: Tensor) -> Tensor:
        """Embeddings `[batch, 2048]` of mono audio `[batch, samples]` at 16 kHz."""
        log_mel = self.logmel_extractor(self.spectrogram_extractor(audio))  # [batch, 1, frames, bands]
        features = self.bn0(log_mel.transpose(1, 3)).transpose(1, 3)
        for index in range(1, len(CHANNELS)):
            features = self.get_submodule(f"conv_block{index}")(features)
        over_time = features.mean(3)
        return F.relu(self.fc1(over_time.amax(2) + over_time.mean(2)))


class Pann:
    """CNN14 of a clip's mean over channels.

    Args:
        network: With weights.
        device: Where it runs.
    """

    def __init__(self, network: Cnn14, device: str) -> None:
        self.network = network.to(device)
        self.device = device
        self.metadata: dict[str, Any] = {}

    @torch.inference_mode()
    def embed(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        """`windows` `[1, 2048]` of each clip: the whole clip is one window."""
        return [{"windows": self._embed_clip(audio, sample_rate)} for audio, sample_rate in clips]

    def _embed_clip(self, audio: Audio, sample_rate: int) -> Tensor:
        samples = resample_kaiser_best(mono(audio), sample_rate, SAMPLE_RATE_HZ)
        padded = np.pad(samples, (0, max(0, SHORTEST_SAMPLES - len(samples))))
        return self.network(torch.from_numpy(padded)[None].to(self.device)).cpu()

    def self_test(self) -> None:
        """Embeds a tone, noise and silence.

        Raises:
            DamagedArtifactError: If the embeddings are not what a trained CNN14 could give.
        """
        check_audio("pann", self, {"windows": (1, EMBEDDING_DIM)}, seconds=2.0)
        check_silence("pann", self)


def load(files: Mapping[str, Path], variant: str, device: str = "cpu") -> Pann:
    """Builds CNN14 from `Cnn14_16k_mAP=0.438.pth`.

    Raises:
        DamagedArtifactError: If the file is not that.
    """
    path = files[WEIGHTS[variant][0]]
    checkpoint = read_torch_file(path)  # beside the network, it has the sampler of its training
    if not isinstance(checkpoint, dict) or "model" not in checkpoint:
        raise not_of(path, "PANNs' Cnn14_16k", "it has no entry `model`")
    return Pann(fill_network(Cnn14(), checkpoint["model"], path, "PANNs' Cnn14_16k"), device)
