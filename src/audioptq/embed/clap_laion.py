"""`clap_laion`: how well audio matches its caption by LAION-CLAP (Wu et al. 2023), as stable-audio-metrics computes it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audioptq.embed.base import Clip
from audioptq.embed.clap_network import ClapVariant, read_network, read_tokenizer
from audioptq.embed.prepare import mono, peak_normalise, resample
from audioptq.embed.self_test import check_audio, refused
from audioptq.errors import UserError

METRICS = {"clap_laion": {"statistic": "clap", "label": "CLAP score (LAION)"}}
WEIGHTS = {
    "630k-audioset-fusion-best": ["clap_630k_audioset_fusion_best", "roberta_vocab", "roberta_merges"],
    "music_audioset_epoch_15": ["clap_music_audioset_epoch_15", "roberta_vocab", "roberta_merges"],
}
NETWORKS = {
    "630k-audioset-fusion-best": ClapVariant("HTSAT-tiny", fusion=True),
    "music_audioset_epoch_15": ClapVariant("HTSAT-base", fusion=False),
}
MAX_SECONDS = 10

SAMPLE_RATE_HZ = 48000
SAMPLES = MAX_SECONDS * SAMPLE_RATE_HZ  # what the network takes
MAX_TOKENS = 77
EMBEDDING_DIM = 512
CLIPS_PER_BATCH = 8


class ClapLaion:
    """LAION-CLAP as the embed stage asks for it (base.TextEvaluator).

    Clips of 10 s or less; shorter ones are repeated as often as they fit and padded with silence. Vectors have length 1, so
    that a product is a cosine.

    Args:
        network: laion_clap's, with its weights.
        audio: laion_clap's settings of its audio.
        tokenizer: Of roberta-base.
        device: Where the network runs.
    """

    def __init__(self, network: Any, audio: Mapping[str, Any], tokenizer: Any, device: str) -> None:
        self.network, self.tokenizer, self.device = network.to(device), tokenizer, device
        self.log_mel = _log_mel(audio).to(device) if network.enable_fusion else None
        self.metadata: dict[str, Any] = {}

    @torch.inference_mode()
    def embed(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        """`audio` `[512]` of each clip.

        Raises:
            UserError: If a clip is longer than 10 s, or empty.
        """
        rows: list[dict[str, Tensor]] = []
        for first in range(0, len(clips), CLIPS_PER_BATCH):
            batch = [self._input(clip) for clip in clips[first : first + CLIPS_PER_BATCH]]
            rows += [{"audio": vector} for vector in self.network.get_audio_embedding(batch).cpu()]
        return rows

    def _input(self, clip: Clip) -> dict[str, Tensor]:
        """One clip as laion_clap hands it to the network."""
        waveform = torch.from_numpy(prepare(*clip)).to(self.device)
        if self.log_mel is None:
            return {"waveform": waveform}
        mel = self.log_mel(
            waveform
        ).T  # [frames, bands]; the whole clip takes the place of all four views of a long one
        return {"mel_fusion": mel.expand(4, -1, -1), "longer": torch.tensor([False])}

    @torch.inference_mode()
    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Unit vectors `[captions, 512]`."""
        tokens = self.tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        return self.network.get_text_embedding(dict(tokens)).cpu()

    def dropped_words(self, caption: str) -> int:
        """Words that do not reach the network whole: it takes 77 tokens."""
        tokens = self.tokenizer(caption, truncation=True, max_length=MAX_TOKENS, return_offsets_mapping=True)
        reached = max(end for _, end in tokens["offset_mapping"])
        return sum(word.end() > reached for word in re.finditer(r"\S+", caption))

    def self_test(self) -> None:
        """See `self_test.check_audio`; further, vectors have length 1 and captions are told apart.

        Raises:
            DamagedArtifactError: If it fails.
        """
        check_audio("clap_laion", self, {"audio": (EMBEDDING_DIM,)})
        text = self.embed_text(["a dog barks", "heavy rain falls on a roof"])
        if not torch.allclose(text.norm(dim=1), torch.ones(2), atol=1e-4):
            raise refused("clap_laion", "vectors of captions do not have length 1")
        if torch.allclose(text[0], text[1], rtol=1e-3, atol=0):
            raise refused("clap_laion", "two different captions have the same vector")


def prepare(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """A clip as laion_clap's network takes it: mono, 48 kHz, peak at -1 dBFS, of 16-bit precision, 480000 samples.

    Raises:
        UserError: If the clip is longer than 10 s, or empty.
    """
    samples = resample(mono(audio), sample_rate, SAMPLE_RATE_HZ)
    if not 0 < len(samples) <= SAMPLES:
        raise UserError(
            f"clap_laion embeds clips of at most 10 s, and one lasts {len(samples) / SAMPLE_RATE_HZ:.3f} s. For longer ones "
            "the published evaluation draws sections at random, and its scores change from run to run. Set "
            "`seconds_total` of the dataset to 10 or less, or leave clap_laion out of `metrics` in the config."
        )
    integers = (peak_normalise(samples).clip(-1, 1) * 32767.0).astype(np.int16)  # towards zero, as laion_clap rounds
    samples = np.tile((integers / 32767.0).astype(np.float32), SAMPLES // len(integers))
    return np.pad(samples, (0, SAMPLES - len(samples)))


def _log_mel(audio: Mapping[str, Any]) -> nn.Module:
    """Log-mel spectrogram in dB `[bands, frames]`, as laion_clap's `training.data.get_mel`."""
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    mel = MelSpectrogram(
        sample_rate=audio["sample_rate"],
        n_fft=audio["window_size"],
        hop_length=audio["hop_size"],
        n_mels=audio["mel_bins"],
        f_min=audio["fmin"],
        f_max=audio["fmax"],
    )
    return nn.Sequential(mel, AmplitudeToDB(top_db=None))


def load(files: Mapping[str, Path], variant: str, device: str = "cpu") -> ClapLaion:
    """Reads one of the published checkpoints and roberta-base's tokenizer; asks no hub."""
    checkpoint, vocabulary, merges = (files[name] for name in WEIGHTS[variant])
    tokenizer = read_tokenizer(vocabulary, merges)
    network, audio = read_network(checkpoint, NETWORKS[variant])
    return ClapLaion(network, audio, tokenizer, device)
