"""The pretransform of `mini`: log-mel patches, principal components, and Griffin-Lim on the way back.

It needs no gradient training and keeps every sound class apart, which a small learned autoencoder does not
(docs/decisions/0002). It takes the place of Stable Audio Open's oobleck VAE and speaks the same interface.
"""

import math

import torch
from torch import Tensor

from audioptq.audio.log_mel import POWER_FLOOR, LogMel
from audioptq.models.stable_audio.upstream import Pretransform

MEL_INVERSION_ITERATIONS = 10


def invert_mel(mel_power: Tensor, filters: Tensor) -> Tensor:
    """A power spectrum `[..., bins]` >= 0 whose mel power is close to `mel_power` `[..., n_mels]`.

    Multiplicative updates (Richardson-Lucy; Lee & Seung 2001 for a fixed dictionary): p <- p F(m / (p F))^T / (F 1). Unlike the
    pseudo-inverse's, its result is never negative: clipping that costs the narrow tones (whistle, cricket) their class.
    """
    per_bin = filters.sum(1).clamp_min(1e-9)
    power = mel_power @ (filters / per_bin[:, None]).T
    for _ in range(MEL_INVERSION_ITERATIONS):
        power = power * ((mel_power / (power @ filters).clamp_min(1e-12)) @ filters.T / per_bin)
    return power


class MelPcaPretransform(Pretransform):
    """Maps audio `[batch, 1, samples]` to latents `[batch, channels, frames]` and back.

    Encoding: log-mel frames -> `patch_frames` consecutive frames as one vector v -> z = (v - mean) basis / deviation.
    Decoding inverts each step; the phase is Griffin-Lim's from a zero start, so that decoding is deterministic.

    Args:
        sample_rate: Of the audio, Hz.
        n_fft: Window length of the transform, samples.
        hop_length: Samples between frames.
        n_mels: Bands of the mel filter bank.
        patch_frames: Frames that make one latent frame.
        channels: Principal components kept.
        griffin_lim_iterations: Phase iterations on decoding.
    """

    mean: Tensor
    basis: Tensor
    deviation: Tensor

    def __init__(
        self,
        sample_rate: int,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 64,
        patch_frames: int = 8,
        channels: int = 96,
        griffin_lim_iterations: int = 16,
    ) -> None:
        super().__init__(enable_grad=False, io_channels=1, is_discrete=False)
        self.log_mel = LogMel(sample_rate, n_fft, hop_length, n_mels)
        self.patch_frames, self.encoded_channels = patch_frames, channels
        self.downsampling_ratio = hop_length * patch_frames
        self.griffin_lim_iterations = griffin_lim_iterations
        width = n_mels * patch_frames
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("basis", torch.zeros(width, channels))
        self.register_buffer("deviation", torch.ones(channels))

    def encode(self, x: Tensor) -> Tensor:
        """Latents `[batch, channels, frames]` of audio `[batch, 1, samples]`; samples must divide evenly into frames."""
        return self.encode_log_mel(self.log_mel(x[:, 0]))

    def encode_log_mel(self, log_mel: Tensor) -> Tensor:
        """Latents `[batch, channels, frames / patch_frames]` of log-mel frames `[batch, frames, n_mels]`."""
        patches = log_mel.unflatten(1, (-1, self.patch_frames)).flatten(2)
        return ((patches - self.mean) @ self.basis / self.deviation).transpose(1, 2)

    def decode(self, z: Tensor) -> Tensor:
        """Audio `[batch, 1, samples]` of latents `[batch, channels, frames]`."""
        from torchaudio.functional import griffinlim

        patches = (z.transpose(1, 2) * self.deviation) @ self.basis.T + self.mean
        log_mel = patches.unflatten(2, (self.patch_frames, self.log_mel.n_mels)).flatten(1, 2)
        # No sound the model has seen is above full scale; a wild latent must not overflow the exponential.
        mel_power = (log_mel.clamp(math.log(POWER_FLOOR), 3.0).exp() - POWER_FLOOR).clamp_min(0)
        window, n_fft = self.log_mel.window, self.log_mel.n_fft
        magnitude = invert_mel(mel_power, self.log_mel.filters).sqrt().transpose(1, 2) * window.sum() / 2
        magnitude = torch.cat([magnitude, magnitude[..., -1:]], dim=-1)  # centred frames: one more than hops
        audio = griffinlim(
            magnitude, window, n_fft, self.log_mel.hop_length, n_fft, power=1.0,
            n_iter=self.griffin_lim_iterations, momentum=0.99, length=z.shape[-1] * self.downsampling_ratio,
            rand_init=False,
        )  # fmt: skip
        return audio.unsqueeze(1)

    @torch.no_grad()
    def fit(self, log_mel: Tensor) -> float:
        """Sets mean, basis and deviation from log-mel frames `[clips, frames, n_mels]`.

        Each component is divided by the square root of its standard deviation (partial whitening: small components keep
        less of the noise budget than full whitening would give them), and all by one number to unit deviation overall.

        Returns:
            The share of the variance that the kept components explain, in [0, 1].
        """
        patches = log_mel.unflatten(1, (-1, self.patch_frames)).flatten(2).flatten(0, 1).double()
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        kept = values[: self.encoded_channels]
        deviation = kept.sqrt().clamp_min(1e-6).sqrt()
        deviation *= (kept / deviation.square()).mean().sqrt()
        self.mean.copy_(patches.mean(0))
        self.basis.copy_(vectors[:, : self.encoded_channels])
        self.deviation.copy_(deviation)
        return float(kept.sum() / values.sum())
