"""`yamnet`: AudioSet's 521 classes and an embedding per patch by YAMNet, a tagger that heard real recordings.

Per clip: mean over channels, resampy to 16 kHz, silence at the end up to whole patches, log-mel patches of 96 frames (0.975 s
of audio) every 0.48 s. Nothing is normalised: the level of a clip is heard.

Source of the front end: tensorflow/models, audioset/yamnet/features.py (`pad_waveform`), params.py and inference.py.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audioptq.embed.audioset_mel import EXAMPLE_FRAMES, EXAMPLE_SAMPLES, HOP_LENGTH, SAMPLE_RATE_HZ, log_mel_frames
from audioptq.embed.base import Clip
from audioptq.embed.prepare import Audio, mono, resample_kaiser_best
from audioptq.embed.self_test import check_audio, check_silence
from audioptq.embed.torch_file import fill_network, not_of
from audioptq.embed.yamnet_files import GRAPH, KERAS, read_keras_weights, read_onnx_graph
from audioptq.embed.yamnet_network import EMBEDDING_DIM, N_CLASSES, YamnetNetwork

METRICS = {
    "kl_yamnet": {"statistic": "kl", "label": "KL(generated‖reference) (YAMNet)"},
    "fd_yamnet": {"statistic": "fd", "label": "FD (YAMNet)"},
    "kl_yamnet_fp32": {"statistic": "kl", "target": "fp32", "label": "KL(generated‖fp32) (YAMNet)"},
    "fd_yamnet_fp32": {"statistic": "fd", "target": "fp32", "label": "FD to fp32 (YAMNet)"},
}
WEIGHTS = {"w8a8": ["yamnet_w8a8", "yamnet_classes"], "keras": ["yamnet_keras", "yamnet_classes"]}

LOG_OFFSET = 0.001
PATCH_HOP_FRAMES = 48
CHUNK_PATCHES = 32


class Yamnet:
    """YAMNet of a clip's mean over channels (base.Evaluator).

    Args:
        network: With weights.
        classes: Names of the 521 classes.
        variant: Which weights they are: embeddings of different ones must not be set beside each other.
        device: Where it runs.
    """

    def __init__(self, network: YamnetNetwork, classes: Sequence[str], variant: str, device: str) -> None:
        self.network, self.device = network.to(device), device
        self.metadata: dict[str, Any] = {"classes": list(classes), "weights": variant}

    @torch.inference_mode()
    def embed(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        """`logits` `[521]`, the mean over a clip's patches, and `windows` `[patches, 1024]` of each clip."""
        rows = []
        for audio, sample_rate in clips:
            heard = resample_kaiser_best(mono(audio), sample_rate, SAMPLE_RATE_HZ)
            parts = [
                self.network(part.to(self.device)) for part in torch.from_numpy(patches(heard)).split(CHUNK_PATCHES)
            ]
            logits, windows = (torch.cat(tensors).cpu() for tensors in zip(*parts, strict=True))
            rows.append({"logits": logits.mean(0), "windows": windows})
        return rows

    def self_test(self) -> None:
        """Embeds a tone, noise and silence; two seconds are 4 patches.

        Raises:
            DamagedArtifactError: If the embeddings are not what a trained YAMNet could give.
        """
        shapes = {"logits": (N_CLASSES,), "windows": (4, EMBEDDING_DIM)}
        check_audio("yamnet", self, shapes, seconds=2.0, sample_rate=SAMPLE_RATE_HZ)
        check_silence("yamnet", self, SAMPLE_RATE_HZ)


def patches(samples: Audio) -> NDArray[np.float32]:
    """Log-mel patches `[n, 1, 96, 64]` of mono audio at 16 kHz.

    `n = 1 + ceil((samples - 15600) / 7680)`, at least one: silence after the end completes the last one.
    """
    hop = PATCH_HOP_FRAMES * HOP_LENGTH
    n_hops = max(0, -(-(len(samples) - EXAMPLE_SAMPLES) // hop))
    padded = np.pad(samples, (0, EXAMPLE_SAMPLES + n_hops * hop - len(samples)))
    frames = log_mel_frames(padded, LOG_OFFSET).astype(np.float32)
    framed = np.lib.stride_tricks.sliding_window_view(frames, EXAMPLE_FRAMES, axis=0)[::PATCH_HOP_FRAMES]
    return framed.transpose(0, 2, 1)[:, None].copy()


def class_names(path: str | Path) -> list[str]:
    """Names of the 521 classes, in the order of the logits, of the published `yamnet_class_map.csv`.

    Raises:
        DamagedArtifactError: If the file is not that.
    """
    what = "YAMNet's table of classes (yamnet_class_map.csv)"
    try:
        rows = list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))
        names = [row["display_name"] for row in rows]
        numbers = [row["index"] for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise not_of(path, what, str(error)) from error
    if numbers != [str(number) for number in range(N_CLASSES)]:
        raise not_of(path, what, f"its {len(rows)} rows are not numbered from 0 to {N_CLASSES - 1}")
    return names


def load(files: Mapping[str, Path], variant: str, device: str = "cpu") -> Yamnet:
    """Builds YAMNet from its weights file and the table of its classes.

    Raises:
        UserError: If the variant needs a package that is not installed.
        DamagedArtifactError: If a file is not what it should be.
    """
    path, classes = (files[name] for name in WEIGHTS[variant])
    tensors, what = (read_onnx_graph(path), GRAPH) if variant == "w8a8" else (read_keras_weights(path), KERAS)
    return Yamnet(fill_network(YamnetNetwork(), tensors, path, what), class_names(classes), variant, device)
