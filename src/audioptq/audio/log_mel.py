"""The log-mel analysis that `mini`'s pretransform and the embedded evaluators share."""

import math

import torch
from torch import Tensor, nn

POWER_FLOOR = 1e-8  # -80 dB relative to a full-scale sine: silence is a constant, not minus infinity


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Triangular mel filters `[n_fft // 2 + 1, n_mels]` from 0 Hz to half the sample rate, each summing to one.

    Bands then average the power, so that one floor means one level in every band. Slaney's mel scale: linear below
    1 kHz, logarithmic above (Auditory Toolbox, 1998).
    """
    breakpoint_hz, hz_per_mel, log_step = 1000.0, 200.0 / 3, math.log(6.4) / 27

    def to_hz(mel: Tensor) -> Tensor:
        return torch.where(mel < 15, mel * hz_per_mel, breakpoint_hz * torch.exp(log_step * (mel - 15)))

    top = 15 + math.log(sample_rate / 2 / breakpoint_hz) / log_step
    edges = to_hz(torch.linspace(0, top, n_mels + 2, dtype=torch.float64))
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp_min(0)
    return (filters / filters.sum(0)).float()


class LogMel(nn.Module):
    """Natural logarithm of the mel power, `[batch, frames, n_mels]`, of mono audio `[batch, samples]`.

    Power is relative to a full-scale sine and floored at -80 dB. One frame per hop, centred on its first sample.

    Args:
        sample_rate: Of the audio, Hz.
        n_fft: Window (Hann) and transform length, samples.
        hop_length: Samples between frames.
        n_mels: Bands from 0 Hz to half the sample rate.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, sample_rate: int, n_fft: int = 1024, hop_length: int = 256, n_mels: int = 64) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.n_mels = n_fft, hop_length, n_mels
        self.register_buffer("filters", mel_filters(sample_rate, n_fft, n_mels), persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Log-mel frames of audio `[batch, samples]`."""
        spectrum = torch.stft(audio, self.n_fft, self.hop_length, window=self.window, center=True, return_complex=True)
        power = (spectrum.abs() * (2 / self.window.sum())).square().transpose(1, 2)
        n_frames = audio.shape[-1] // self.hop_length
        return (power[:, :n_frames] @ self.filters).clamp_min(POWER_FLOOR).log()
