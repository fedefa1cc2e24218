"""What the stages ask of a model, whatever its family."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from audioptq.models.objective import Objective
from audioptq.noise_levels import NoiseLevels
from audioptq.site import Site


class AudioModel(ABC):
    """One folder under `models/` per family holds an adapter that inherits this; no other code knows the family.

    Attributes:
        family: Name of the family's folder.
        objective: What the denoiser predicts and what its noise levels mean.
        components: Prefix of a state-dict name -> component it belongs to (denoiser, conditioner, pretransform).
        unread: Prefixes of state-dict names that are used when a clip is decoded, and not before: a quantized file may keep
            them until then.
        network: The whole model; its state dict is what quantized files hold.
        config: Its configuration, as published.
        sample_rate: Of the audio it makes, Hz.
        max_seconds: Length of the longest clip.
        is_pretransform_unread: Whether what decodes is still in its file; `decode` reads it.
    """

    family: ClassVar[str]
    objective: Objective
    components: ClassVar[dict[str, str]]
    unread: ClassVar[tuple[str, ...]] = ()
    network: Any
    config: dict[str, Any]
    sample_rate: int
    max_seconds: float
    is_pretransform_unread: bool = False
    _clock: Any = None
    _listeners: tuple[Callable[[float], object], ...] = ()

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the latents of one clip, `(channels, frames)` or `(channels, height, width)`."""

    @abstractmethod
    def sites(self) -> list[Site]:
        """The layers that recipes choose from, in the order in which they are built."""

    @abstractmethod
    def dropped_words(self, caption: str) -> list[str]:
        """Words of the caption that never reach the model."""

    @abstractmethod
    def condition(self, captions: Sequence[str], seconds_total: Sequence[float]) -> dict[str, Any]:
        """Conditioning of a batch, in the form that `denoise` takes."""

    @abstractmethod
    def predict(self, latents: Tensor, time: Tensor, conditioning: dict[str, Any], cfg_scale: float) -> Tensor:
        """What the network predicts, of the shape of `latents` `[batch, ...]`, with classifier-free guidance.

        Args:
            latents: Noisy, in the scale that the network was trained with (`Objective.denoise`).
            time: `[batch]`, as the network takes it: a level of the objective, but for v.
            conditioning: What `condition` returned.
            cfg_scale: Strength of the guidance; at 1 there is none, and nothing is computed for it.
        """

    @abstractmethod
    def decode(self, latents: Tensor, n_samples: int | None = None) -> Tensor:
        """Audio `[batch, audio_channels, samples]` of latents; its first `n_samples` if given, and no more work than these need."""

    def denoise(self, latents: Tensor, level: Tensor, conditioning: dict[str, Any], cfg_scale: float) -> Tensor:
        """Denoised estimate, of the shape of `latents` `[batch, ...]`, with classifier-free guidance.

        Args:
            latents: Noisy, at the noise level.
            level: Noise level `[batch]`, the same for all, in the terms of the objective.
            conditioning: What `condition` returned.
            cfg_scale: Strength of the guidance.
        """
        for listener in self._listeners:
            listener(float(level[0]))
        return self.objective.denoise(
            lambda scaled, time: self.predict(scaled, time, conditioning, cfg_scale), latents, level
        )

    def add_step_listener(self, listener: Callable[[float], object]) -> Callable[[], None]:
        """Calls `listener(level)` before each pass through the denoiser; returns a function that removes it."""
        self._listeners = (*self._listeners, listener)

        def remove() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return remove

    def require_text_encoder(self) -> None:  # noqa: B027  # most families have none that lies apart
        """Checks that captions can be encoded, before a stage sets to work.

        Raises:
            UserError: If the model needs a text encoder that was not given.
        """

    def activation_bytes(self, batch_size: int) -> int:
        """About what a step or the decoding takes at its largest beside weights, whichever is more."""
        return 0

    def pretransform_bytes(self) -> int:
        """What the part that decodes takes once it is read in, in the types that it computes in."""
        return 0

    def attach(self, clock: Any) -> None:
        """Lets the clock of quantized layers (`set_level`, `check`) follow the sampler.

        The sampler asks `check_schedule` before its first step, and each pass through the denoiser sets the level.
        """
        self._clock = clock
        self.add_step_listener(clock.set_level)

    def check_schedule(self, levels: NoiseLevels) -> None:
        """Called with the noise levels of a schedule before sampling begins.

        Raises:
            UserError: If the model is bound to other ones, as one with timestep smoothing is.
        """
        if self._clock is not None:
            self._clock.check(levels)

    @property
    def device(self) -> torch.device:
        """Where latents and noise levels have to be."""
        device: torch.device = next(self.network.parameters()).device
        return device

    def to(self, device: str | torch.device) -> Self:
        """Moves the network, and itself is the result."""
        self.network.to(device)
        return self

    @contextmanager
    def listening(self, listener: Callable[[float], object]) -> Iterator[None]:
        """Within it `listener(level)` is called before each pass through the denoiser."""
        remove = self.add_step_listener(listener)
        try:
            yield
        finally:
            remove()
