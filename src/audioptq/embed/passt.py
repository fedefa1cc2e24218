"""`passt`: logits over AudioSet's classes by PaSST (Koutini et al. 2022), as stable-audio-metrics computes them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audioptq.embed.base import Clip
from audioptq.embed.prepare import mono, peak_normalise, resample
from audioptq.embed.self_test import check_audio
from audioptq.embed.torch_file import fill_network, read_torch_file
from audioptq.errors import UserError
from audioptq.machine.compat import allow_cuda_wheels_on_cpu, quietly

METRICS = {"kl_passt": {"statistic": "kl", "label": "KL(generated‖reference) (PaSST)"}}
WEIGHTS = {"passt-s-swa-p16-128-ap476": ["passt"]}

SAMPLE_RATE_HZ = 32000
WINDOW = 10 * SAMPLE_RATE_HZ
STEP = 5 * SAMPLE_RATE_HZ
UNPADDED = 3 * SAMPLE_RATE_HZ // 2  # windows up to 1.5 s are not padded: they would be tagged as silence
SHORTEST = 4801  # samples for the 16 frames of a patch: hop 320, and pre-emphasis takes a sample
CLASSES = 527
WINDOWS_PER_BATCH = 4


class Passt:
    """PaSST as the embed stage asks for it (base.Evaluator).

    Args:
        network: hear21passt's spectrogram and network, in mode "logits".
        device: Where it runs.
    """

    def __init__(self, network: nn.Module, device: str) -> None:
        self.network, self.device = network.to(device), device
        self.metadata: dict[str, Any] = {"classes": CLASSES}

    @torch.inference_mode()
    def embed(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        """`logits` `[527]` of each clip: the mean over its windows.

        Raises:
            UserError: If a clip is too short for a single patch of the spectrogram.
        """
        found: list[list[Tensor]] = [[] for _ in clips]
        owned = ((row, window) for row, clip in enumerate(clips) for window in windows(*clip))
        for _, group in groupby(owned, key=lambda pair: len(pair[1])):
            while batch := list(islice(group, WINDOWS_PER_BATCH)):
                logits = self._logits(np.stack([window for _, window in batch]))
                for (row, _), each in zip(batch, logits, strict=True):
                    found[row].append(each)
        return [{"logits": torch.stack(each).mean(0)} for each in found]

    def _logits(self, audio: np.ndarray) -> Tensor:
        with quietly():
            return self.network(torch.from_numpy(audio).to(self.device)).cpu()

    def self_test(self) -> None:
        """See `self_test.check_audio`; a single second, since a whole window takes the network several."""
        check_audio("passt", self, {"logits": (CLASSES,)}, seconds=1.0)


def windows(audio: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
    """Windows of a clip `[samples]` at 32 kHz with the clip's peak at -1 dBFS: 10 s every 5 s, the last padded with silence.

    No window begins in a clip's last 5 s but the first. One of at most 1.5 s, which is a whole clip, is not padded.

    Raises:
        UserError: If the clip is shorter than 0.15 s.
    """
    samples = peak_normalise(resample(mono(audio), sample_rate, SAMPLE_RATE_HZ))
    if len(samples) < SHORTEST:
        raise UserError(
            f"kl_passt needs clips of at least {SHORTEST / SAMPLE_RATE_HZ:.2f} s, and one lasts "
            f"{len(samples) / SAMPLE_RATE_HZ:.2f} s: the tagger sees nothing in less. Set `seconds_total` of the dataset "
            "higher, replace the reference, or leave kl_passt out of `metrics` in the config."
        )
    for start in range(0, max(STEP, len(samples) - STEP), STEP):
        window = samples[start : start + WINDOW]
        yield window if len(window) <= UNPADDED else np.pad(window, (0, WINDOW - len(window)))


def build_network() -> tuple[nn.Module, nn.Module]:
    """hear21passt's spectrogram and its network of 10 s windows, with random weights."""
    allow_cuda_wheels_on_cpu()
    from hear21passt.models import passt
    from hear21passt.models.preprocess import AugmentMelSTFT

    passt.first_RUN = False  # it would print the shape of every layer once
    with quietly():
        network = passt.get_model("passt_s_swa_p16_128_ap476", pretrained=False)
    # Settings of hear21passt.base.get_basic_model, whose `fmax=None` stands for 15000 Hz. Augmentation is for training alone.
    spectrogram = AugmentMelSTFT(
        n_mels=128,
        sr=SAMPLE_RATE_HZ,
        win_length=800,
        hopsize=320,
        n_fft=1024,
        freqm=48,
        timem=192,
        fmin=0.0,
        fmax=15000,
        fmin_aug_range=10,
        fmax_aug_range=2000,
    )
    return spectrogram, network


def load(files: Mapping[str, Path], variant: str, device: str = "cpu") -> Passt:
    """Reads the published weights."""
    from hear21passt.wrapper import PasstBasicWrapper

    spectrogram, network = build_network()
    filled = fill_network(network, read_torch_file(files["passt"]), files["passt"], f"PaSST's {variant}")
    return Passt(PasstBasicWrapper(mel=spectrogram, net=filled, mode="logits").eval(), device)
