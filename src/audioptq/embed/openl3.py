"""`openl3`: OpenL3 embeddings of environmental sound for `fd_openl3`, as stable-audio-metrics computes them.

Per clip: joint peak of both channels to -1 dBFS, soxr to 44.1 kHz (which band-limits), resampy to 48 kHz; half a second of
zeros before, seconds every half second, zeros after. Left and right run as two mono signals and are concatenated: 1024
numbers per second, 20 of them for ten seconds. Source: Stability-AI/stable-audio-metrics, src/openl3_fd.py; marl/openl3 0.4.2.

The variants differ in weights file and frontend: `mel256-env-512` is the published protocol (openl3 0.4.2 on kapre 0.3.7);
`torchopenl3` is the older frontend and a conversion of the weights, and its distances are not comparable with published ones.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from audioptq.embed.base import Clip
from audioptq.embed.openl3_keras import read_keras_weights
from audioptq.embed.openl3_network import SAMPLE_RATE_HZ, KapreFrontend, OldKapreFrontend, OpenL3Network
from audioptq.embed.prepare import Audio, peak_normalise, resample, resample_kaiser_best
from audioptq.embed.self_test import check_audio, check_silence
from audioptq.embed.torch_file import fill_network, read_torch_file
from audioptq.errors import UserError

METRICS = {"fd_openl3": {"statistic": "fd", "label": "FD (OpenL3)"}}
WEIGHTS = {"mel256-env-512": ["openl3_mel256_env_512"], "torchopenl3": ["torchopenl3_mel256_env_512"]}
BANDWIDTH_RATE_HZ = 44100  # what the metric hears, whatever rate a clip has
HOP_SAMPLES = SAMPLE_RATE_HZ // 2
EMBEDDING_DIM = 1024
# Seconds per forward pass: 64 channels of 256 bands and 199 steps are 13 MB each; a processor gains nothing from more.
CHUNK_SECONDS_CPU, CHUNK_SECONDS_GPU = 2, 32


class OpenL3:
    """OpenL3 of a stereo clip.

    Args:
        network: With weights.
        device: Where it runs.
        frontend: Its frontend's name, for the embedding files.
        resampled_in: Precision of the resampling to 48 kHz: its rounding is all that is heard above 22 kHz.
    """

    def __init__(self, network: OpenL3Network, device: str, frontend: str, resampled_in: type[np.floating]) -> None:
        # Channels last: a quarter faster on a processor.
        self.network = convert_conv2d_weight_memory_format(network.to(device), torch.channels_last)
        self.device = device
        self.chunk_seconds = CHUNK_SECONDS_CPU if device == "cpu" else CHUNK_SECONDS_GPU
        self.resampled_in = resampled_in
        self.metadata: dict[str, Any] = {"frontend": frontend}

    @torch.inference_mode()
    def embed(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        """`windows` `[seconds, 1024]` of each clip, left then right."""
        return [{"windows": self._embed_clip(audio, sample_rate)} for audio, sample_rate in clips]

    def _embed_clip(self, audio: Audio, sample_rate: int) -> Tensor:
        if len(audio) not in (1, 2):
            raise UserError(
                f"OpenL3 takes mono or stereo clips, and one has {len(audio)} channels: down-mix it to stereo and run again."
            )
        limited = resample(peak_normalise(audio), sample_rate, BANDWIDTH_RATE_HZ)
        channels = [self._embed_channel(channel) for channel in limited]
        return torch.cat([channels[0], channels[-1]], dim=1)

    def _embed_channel(self, samples: Audio) -> Tensor:
        resampled = resample_kaiser_best(samples.astype(self.resampled_in), BANDWIDTH_RATE_HZ, SAMPLE_RATE_HZ)
        seconds = torch.from_numpy(split_seconds(resampled.astype(np.float32)))
        return torch.cat([self.network(chunk.to(self.device)).cpu() for chunk in seconds.split(self.chunk_seconds)])

    def self_test(self) -> None:
        """Embeds a tone, noise and silence of one second, which are two windows.

        Raises:
            DamagedArtifactError: If the embeddings are not what a trained OpenL3 could give.
        """
        check_audio("openl3", self, {"windows": (2, EMBEDDING_DIM)}, seconds=1.0)
        check_silence("openl3", self)


def split_seconds(samples: Audio) -> Audio:
    """Overlapping seconds `[n, 48000]` of a signal at 48 kHz, the first one centred on its first sample.

    `n = 1 + ceil((samples - 24000) / 24000)`, at least one: openl3's `center=True`, `hop_size=0.5`, which pads on the left
    only, and after the end just enough for every sample to be heard.
    """
    n_hops = max(0, -(-(len(samples) - HOP_SAMPLES) // HOP_SAMPLES))
    total = SAMPLE_RATE_HZ + n_hops * HOP_SAMPLES
    padded = np.pad(samples, (HOP_SAMPLES, total - HOP_SAMPLES - len(samples)))
    return np.lib.stride_tricks.sliding_window_view(padded, SAMPLE_RATE_HZ)[::HOP_SAMPLES].copy()


def load(files: Mapping[str, Path], variant: str, device: str = "cpu") -> OpenL3:
    """Builds OpenL3 from its weights file.

    Raises:
        DamagedArtifactError: If the file is not the variant's weights.
    """
    path = files[WEIGHTS[variant][0]]
    if variant == "torchopenl3":
        network = OpenL3Network(OldKapreFrontend())
        filled = fill_network(network, read_torch_file(path), path, "torchopenl3's mel256 weights")
        return OpenL3(filled, device, "kapre 0.1.4", np.float64)
    network = OpenL3Network(KapreFrontend())
    filled = fill_network(network, read_keras_weights(path), path, "OpenL3's mel256 weights")
    return OpenL3(filled, device, "kapre 0.3.7", np.float32)
