"""OpenL3's audio network with its two mel frontends, in PyTorch, under the names that torchopenl3 gave the tensors.

Cramer et al., Look, listen and learn more, ICASSP 2019. openl3 0.4 moved from kapre 0.1.4 to kapre 0.3 and its embeddings
changed with that (marl/openl3 issue 80); torchopenl3 stayed with 0.1.4. docs/decisions/0008 compares the two.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLE_RATE_HZ = 48000
N_FFT = 2048
HOP_LENGTH = 242
N_MELS = 256
N_BINS = N_FFT // 2 + 1
N_STEPS = math.ceil(SAMPLE_RATE_HZ / HOP_LENGTH)  # 199 of one second
PADDING = (N_STEPS - 1) * HOP_LENGTH + N_FFT - SAMPLE_RATE_HZ
CHANNELS = (1, 64, 64, 128, 128, 256, 256, 512, 512)
POOLED = (2, 4, 6)  # convolutions that max-pooling by two follows
EMBEDDING_POOL = (32, 24)  # all that is left of 256 bands and 199 steps, so that 512 numbers remain


class KapreFrontend(nn.Module):
    """Mel spectrogram of kapre 0.3, as openl3 0.4 uses it: Slaney's filters on magnitudes, zeros after the second only.

    In float64: bands within a few decibels of the floor are otherwise the rounding noise of the Fourier transform's library,
    which differs between processors, graphics cards and TensorFlow.
    """

    mel_basis: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        import librosa

        basis = librosa.filters.mel(sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=N_MELS, htk=False, norm="slaney")
        self.register_buffer("mel_basis", torch.from_numpy(basis).T.double().contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT, periodic=True, dtype=torch.float64), persistent=False)

    def forward(self, seconds: Tensor) -> Tensor:
        """Decibels `[batch, 1, bands, steps]` of mono seconds `[batch, 48000]`."""
        steps = F.pad(seconds.double(), (0, PADDING)).unfold(1, N_FFT, HOP_LENGTH)
        return relative_decibels(torch.fft.rfft(steps * self.window).abs() @ self.mel_basis)


class OldKapreFrontend(nn.Module):
    """Mel spectrogram of kapre 0.1.4, as torchopenl3 has it: HTK filters on power, then the root; zeros on both sides.

    Its kernels and filters are part of the weights file. They are used as they are: what torchopenl3 would compute for the
    filters when it builds its network depends on librosa's version. In float32 and by convolution, as there.
    """

    dft_real_kernels: Tensor
    dft_imag_kernels: Tensor
    mel_basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("dft_real_kernels", torch.zeros(N_BINS, 1, N_FFT))
        self.register_buffer("dft_imag_kernels", torch.zeros(N_BINS, 1, N_FFT))
        self.register_buffer("mel_basis", torch.zeros(N_MELS, N_BINS))

    def forward(self, seconds: Tensor) -> Tensor:
        """Decibels `[batch, 1, bands, steps]` of mono seconds `[batch, 48000]`."""
        padded = F.pad(seconds, (PADDING // 2, PADDING - PADDING // 2)).unsqueeze(1)
        real = F.conv1d(padded, self.dft_real_kernels, stride=HOP_LENGTH)
        imaginary = F.conv1d(padded, self.dft_imag_kernels, stride=HOP_LENGTH)
        power = (real.square() + imaginary.square()).transpose(1, 2)
        return relative_decibels((power @ self.mel_basis.T).sqrt())


def relative_decibels(mel: Tensor) -> Tensor:
    """`10 log10` of mel magnitudes `[batch, steps, bands]`, 0 at each second's largest, floored at -80.

    Returns:
        `[batch, 1, bands, steps]` float32.
    """
    decibels = 10 * mel.clamp_min(1e-10).log10()
    return (decibels - decibels.amax((1, 2), keepdim=True)).clamp_min(-80).transpose(1, 2).unsqueeze(1).float()


class OpenL3Network(nn.Module):
    """Eight convolutions over a mel spectrogram, each after a batch normalisation; the last has no rectifier.

    Args:
        frontend: Turns seconds into decibels.
    """

    def __init__(self, frontend: nn.Module) -> None:
        super().__init__()
        self.speclayer = frontend
        for index, (before, after) in enumerate(pairwise(CHANNELS), start=1):
            self.add_module(f"batch_normalization_{index}", nn.BatchNorm2d(before, eps=1e-3))
            self.add_module(convolution_name(index), nn.Conv2d(before, after, 3, padding=1))

    def forward(self, seconds: Tensor) -> Tensor:
        """Embeddings `[batch, 512]` of mono seconds `[batch, 48000]` at 48 kHz."""
        features = self.speclayer(seconds)
        for index in range(1, len(CHANNELS)):
            features = self.get_submodule(f"batch_normalization_{index}")(features)
            if index > 1:
                features = features.relu_()
            if index - 1 in POOLED:
                features = F.max_pool2d(features, 2)
            features = self.get_submodule(convolution_name(index))(features)
        return F.max_pool2d(features, EMBEDDING_POOL).flatten(1)


def convolution_name(index: int) -> str:
    """Name of the convolution `index`, 1 to 8."""
    return "audio_embedding_layer" if index == len(CHANNELS) - 1 else f"conv2d_{index}"
