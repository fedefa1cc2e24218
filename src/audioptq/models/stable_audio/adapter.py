"""Models in stable-audio-tools' own layout: `mini`, Stable Audio Open and Stable Audio Open Small, by one path.

A model directory holds `model_config.json` (stable-audio-tools' schema) and `model.safetensors` or `model.ckpt`. Two module
types that stable-audio-tools lacks may appear in the schema: the pretransform `mel_pca` and the conditioner `word_transformer`.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audioptq.errors import UserError
from audioptq.models.base import AudioModel
from audioptq.models.objective import ContinuousV, RectifiedFlow
from audioptq.models.stable_audio.build import build_network
from audioptq.models.stable_audio.chunked_decoding import chunk_overlap, decode_in_chunks, decoding_bytes
from audioptq.models.stable_audio.config import objective_name
from audioptq.models.stable_audio.files import load_weights, read_model_config, weights_file
from audioptq.models.stable_audio.meta_init import dtypes_of, overwrite_gates, read_in, without_weights
from audioptq.models.stable_audio.sites import sites_of
from audioptq.models.stable_audio.t5_text import T5TextConditioner, no_text_encoder
from audioptq.models.stable_audio.word_text import WordTransformerConditioner
from audioptq.site import Site


class StableAudioModel(AudioModel):
    """A text- and timing-conditioned latent diffusion model (see `base.AudioModel`).

    Args:
        config: stable-audio-tools' model configuration.
        text_encoder: Directory of its T5, for a configuration that has one.
        text_dtype: In which the T5 computes; None for stable-audio-tools' choice, float16.
        initialise: Whether the network starts with random weights; else it has none, and takes no memory, until they are loaded.

    Raises:
        UserError: If the configuration is not of a model that is sampled here, or its text encoder is not what is given.
    """

    family = "stable_audio"
    components: ClassVar = {"model.": "denoiser", "conditioner.": "conditioner", "pretransform.": "pretransform"}
    unread = ("pretransform.",)

    def __init__(
        self,
        config: dict[str, Any],
        text_encoder: str | Path | None = None,
        text_dtype: str | None = None,
        *,
        initialise: bool = True,
    ) -> None:
        self.config = config
        self.objective = ContinuousV() if objective_name(config) == "v" else RectifiedFlow()
        try:
            with contextlib.nullcontext() if initialise else without_weights():
                self.network: Any = build_network(config, text_encoder, text_dtype)
        except (KeyError, TypeError, ValueError, AssertionError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"The model configuration does not describe a conditioned diffusion model: {error!r}. "
                "It must follow stable-audio-tools' schema (model_type diffusion_cond; see models/mini/model_config.json)."
            ) from error
        self.network.eval().requires_grad_(False)
        overwrite_gates(self.network)
        self.sample_rate = int(config["sample_rate"])
        # A clip ends with its last whole latent.
        self.max_seconds = self.latent_shape[1] * self._samples_per_latent / self.sample_rate
        pretransform: Any = self.network.pretransform
        self._dtypes = dtypes_of(pretransform)
        self.is_pretransform_unread = False
        self._overlap = chunk_overlap(pretransform)
        if self._overlap is not None:
            pretransform.chunked = False  # stable-audio-tools' own way to bound memory; `decode` is exact

    @classmethod
    def load(
        cls,
        directory: str | Path,
        text_encoder: str | Path | None = None,
        text_dtype: str | None = None,
        *,
        weights: str | Path | None = None,
    ) -> "StableAudioModel":
        """Reads the configuration and the weights of a directory; float tensors become what the configuration computes in.

        Args:
            directory: Of the model.
            text_encoder: See the class; without it, a model with a T5 can be quantized but takes no captions.
            text_dtype: See the class.
            weights: The file of weights; None for the directory's `model.safetensors`, else its `model.ckpt`.

        Raises:
            UserError: If the model is none that is sampled here.
            DamagedArtifactError: If a file is missing or damaged, or the tensors do not fit the configuration.
        """
        config = read_model_config(directory)
        path = weights_file(directory) if weights is None else weights
        model = cls(config, text_encoder, text_dtype, initialise=False)
        load_weights(model.network, path)
        return model

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Latent `(channels, frames)` of one clip of the configured `sample_size`."""
        return self.network.io_channels, self.config["sample_size"] // self._samples_per_latent

    def to(self, device: str | torch.device) -> "StableAudioModel":
        """Moves the network, and itself is the result; the T5 follows at the next caption."""
        self.network.to(device)
        return self

    def require_text_encoder(self) -> None:
        """Checks that captions can be encoded, before a stage sets to work.

        Raises:
            UserError: If the model has a T5 that was not given.
        """
        prompt = self._prompt
        if isinstance(prompt, T5TextConditioner) and prompt.directory is None:
            raise no_text_encoder(prompt.name)

    def sites(self) -> list[Site]:
        """The linear layers of the transformer blocks, in the order in which they are built."""
        return sites_of(self.network)

    def dropped_words(self, caption: str) -> list[str]:
        """Words outside a closed vocabulary, or behind the end of the longest caption."""
        prompt = self._prompt
        if isinstance(prompt, WordTransformerConditioner | T5TextConditioner):
            return prompt.dropped(caption)
        return []

    def condition(
        self, captions: Sequence[str], seconds_total: Sequence[float], seconds_start: float = 0.0
    ) -> dict[str, Any]:
        """Conditioning tensors of a batch, as keyword arguments of the denoiser."""
        metadata = [
            {"prompt": caption, "seconds_start": seconds_start, "seconds_total": total}
            for caption, total in zip(captions, seconds_total, strict=True)
        ]
        return dict(self.network.get_conditioning_inputs(self.network.conditioner(metadata, self.device)))

    def predict(self, latents: Tensor, time: Tensor, conditioning: dict[str, Any], cfg_scale: float) -> Tensor:
        """See `AudioModel.predict`; both halves of the guidance run in one pass of twice the batch."""
        # Recomputing activations serves training alone, and would import torch's compiler.
        prediction: Tensor = self.network.model(
            latents, time, cfg_scale=cfg_scale, use_checkpointing=False, **conditioning
        )
        return prediction

    def decode(self, latents: Tensor, n_samples: int | None = None) -> Tensor:
        """Audio `[batch, audio_channels, samples]`, its first `n_samples` if given.

        A convolutional autoencoder decodes only what these need, in chunks (see `chunked_decoding`). A pretransform that is
        still in its file (`is_pretransform_unread`) is read here.
        """
        pretransform = self.network.pretransform
        if self.is_pretransform_unread and pretransform is not None:
            read_in(pretransform, self._dtypes)
            self.is_pretransform_unread = False
        if pretransform is None:
            audio = latents
        elif self._overlap is None:
            audio = pretransform.decode(latents)
        else:
            ratio = self._samples_per_latent
            wanted = ratio * latents.shape[-1] if n_samples is None else n_samples
            audio = decode_in_chunks(pretransform.decode, latents, wanted, ratio, self._overlap)
        return audio if n_samples is None else audio[..., :n_samples]

    def activation_bytes(self, batch_size: int) -> int:
        """About what a step or the decoding takes at its largest beside weights, whichever is more."""
        linears = [self.network.get_submodule(site.name) for site in self.sites()]
        widest = max((linear.out_features for linear in linears), default=0)
        # Both halves of the guidance, in float32: the widest output and what is made of it before it is let go.
        step = 2 * batch_size * self.latent_shape[1] * 2 * widest * 4
        return max(step, 0 if self._overlap is None else decoding_bytes(self.network.pretransform, self._overlap))

    def pretransform_bytes(self) -> int:
        """What the pretransform takes once it is read in, in the types that it computes in; its file stays beside it."""
        state = {} if self.network.pretransform is None else self.network.pretransform.state_dict()
        return sum(tensor.numel() * self._dtypes[name].itemsize for name, tensor in state.items())

    @property
    def _samples_per_latent(self) -> int:
        pretransform = self.network.pretransform
        return 1 if pretransform is None else int(pretransform.downsampling_ratio)

    @property
    def _prompt(self) -> nn.Module:
        return self.network.conditioner.conditioners["prompt"]
