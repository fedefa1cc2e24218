"""What the stages ask of a model, whatever its family."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class AudioModel(Protocol):
    """One adapter file per family implements this; no other code knows the family.

    Attributes:
        network: The whole model; its state dict is what quantized files hold.
        config: Its configuration, as published.
        sample_rate: Of the audio it makes, Hz.
        max_seconds: Length of the longest clip.
        components: Prefix of a state-dict name -> component it belongs to (denoiser, conditioner, pretransform).
        check_schedule: Called with the noise levels of a schedule before sampling begins; raises a UserError if the model is
            bound to other ones, as one with timestep smoothing is.
    """

    network: Any
    config: dict[str, Any]
    sample_rate: int
    max_seconds: float
    components: dict[str, str]
    check_schedule: Callable[[Iterable[float]], None]

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Latent `(channels, frames)` of one clip."""
        ...

    @property
    def device(self) -> torch.device:
        """Where latents and noise levels have to be."""
        ...

    def quantizable_layers(self) -> list[str]:
        """Names, in order of execution, of the linear layers that recipes choose from."""
        ...

    def dropped_words(self, caption: str) -> list[str]:
        """Words of the caption that never reach the model."""
        ...

    def condition(self, captions: Sequence[str], seconds_total: Sequence[float]) -> dict[str, Any]:
        """Conditioning of a batch, in the form that `denoise` takes."""
        ...

    def denoise(self, latents: Tensor, sigma: Tensor, conditioning: dict[str, Any], cfg_scale: float) -> Tensor:
        """Denoised estimate `[batch, channels, frames]` at noise level `sigma` `[batch]`, with classifier-free guidance."""
        ...

    def add_step_listener(self, listener: Callable[[float], None]) -> Callable[[], None]:
        """Calls `listener(sigma)` before each pass through the denoiser; returns a function that removes it."""
        ...

    def decode(self, latents: Tensor, n_samples: int | None = None) -> Tensor:
        """Audio `[batch, audio_channels, samples]` of latents; its first `n_samples` if given, and no more work than these need."""
        ...
