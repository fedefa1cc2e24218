"""Models in stable-audio-tools' own layout: `mini` and Stable Audio Open, by one path.

A model directory holds `model_config.json` (stable-audio-tools' schema) and `model.safetensors`. Two module types that
stable-audio-tools lacks may appear in the schema: the pretransform `mel_pca` and the conditioner `word_transformer`.
"""

import copy
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from audioptq.artifacts import read_tensors
from audioptq.errors import DamagedArtifactError, UserError
from audioptq.models.engine import VDenoiser, create_diffusion_cond_from_config
from audioptq.models.layout import BLOCKS
from audioptq.models.mel_pca import MelPcaPretransform
from audioptq.models.word_text import WordTransformerConditioner

PRETRANSFORMS: dict[str, type[nn.Module]] = {"mel_pca": MelPcaPretransform}
CONDITIONERS: dict[str, type[nn.Module]] = {"word_transformer": WordTransformerConditioner}


class StableAudioModel:
    """A text- and timing-conditioned latent diffusion model (see `base.AudioModel`).

    Args:
        config: stable-audio-tools' model configuration. The network starts with random weights.

    Raises:
        UserError: If the configuration is not of a conditioned diffusion model.
    """

    components = {"model.": "denoiser", "conditioner.": "conditioner", "pretransform.": "pretransform"}  # noqa: RUF012

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        try:
            self.network: Any = build_network(config)
        except (KeyError, TypeError, ValueError, AssertionError, NotImplementedError) as error:
            raise UserError(
                f"The model configuration does not describe a conditioned diffusion model: {error!r}. "
                "It must follow stable-audio-tools' schema (model_type diffusion_cond; see models/mini/model_config.json)."
            ) from error
        self.network.eval().requires_grad_(False)
        self.sample_rate = int(config["sample_rate"])
        self._denoiser = VDenoiser(self.network.model)

    @classmethod
    def load(cls, directory: str | Path) -> "StableAudioModel":
        """Reads `model_config.json` and `model.safetensors` of a directory.

        Raises:
            DamagedArtifactError: If a file is missing or damaged, or the tensors do not fit the configuration.
        """
        directory = Path(directory)
        model = cls(read_model_config(directory))
        tensors, _ = read_tensors(directory / "model.safetensors")
        try:
            model.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise DamagedArtifactError(
                f"{directory / 'model.safetensors'} does not fit its configuration: {error}"
            ) from error
        return model

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Latent `(channels, frames)` of one clip of the configured `sample_size`."""
        ratio = self.network.pretransform.downsampling_ratio if self.network.pretransform is not None else 1
        return self.network.io_channels, self.config["sample_size"] // ratio

    def quantizable_layers(self) -> list[str]:
        """The linear layers of the transformer blocks, in the order in which they are built."""
        return [n for n, m in self.network.named_modules() if isinstance(m, nn.Linear) and n.startswith(BLOCKS)]

    def dropped_words(self, caption: str) -> list[str]:
        """Words outside the vocabulary of a `word_transformer` conditioner; subword tokenizers drop none."""
        prompt = self.network.conditioner.conditioners["prompt"]
        return prompt.encoder.tokenizer.dropped(caption) if isinstance(prompt, WordTransformerConditioner) else []

    def condition(
        self, captions: Sequence[str], seconds_total: Sequence[float], seconds_start: float = 0.0
    ) -> dict[str, Any]:
        """Conditioning tensors of a batch, as keyword arguments of the denoiser."""
        metadata = [
            {"prompt": caption, "seconds_start": seconds_start, "seconds_total": total}
            for caption, total in zip(captions, seconds_total, strict=True)
        ]
        device = next(self.network.parameters()).device
        return dict(self.network.get_conditioning_inputs(self.network.conditioner(metadata, device)))

    def denoise(self, latents: Tensor, sigma: Tensor, conditioning: dict[str, Any], cfg_scale: float) -> Tensor:
        """Denoised estimate under the v objective; both halves of the guidance run in one pass of twice the batch."""
        return self._denoiser(latents, sigma, cfg_scale=cfg_scale, **conditioning)

    def add_step_listener(self, listener: Callable[[float], None]) -> Callable[[], None]:
        """Calls `listener(sigma)` before each pass: sigma = tan(t pi / 2) for the v objective's time t."""

        def before(_module: nn.Module, args: tuple[Any, ...]) -> None:
            listener(math.tan(float(args[1].flatten()[0]) * math.pi / 2))

        return self.network.model.register_forward_pre_hook(before).remove

    def decode(self, latents: Tensor) -> Tensor:
        """Audio `[batch, audio_channels, samples]`."""
        pretransform = self.network.pretransform
        return pretransform.decode(latents) if pretransform is not None else latents


def read_model_config(directory: str | Path) -> dict[str, Any]:
    """The `model_config.json` of a model directory.

    Raises:
        UserError: If it is missing or is not JSON.
    """
    path = Path(directory) / "model_config.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"The model directory {directory} has no readable model_config.json ({error}). Point `models` in the config at "
            "a directory with model_config.json and model.safetensors."
        ) from error


def _check_kind(model_type: str, diffusion: dict[str, Any]) -> None:
    # stable-audio-tools builds other kinds too, which `denoise` would then run under the wrong objective.
    kind = (model_type, diffusion["type"], diffusion.get("diffusion_objective", "v"))
    if kind != ("diffusion_cond", "dit", "v"):
        raise NotImplementedError(f"model_type, diffusion type and diffusion_objective are {kind}")


def build_network(config: dict[str, Any]) -> nn.Module:
    """Builds the network with random weights; modules that stable-audio-tools does not know are put in afterwards."""
    config = copy.deepcopy(config)
    model = config["model"]
    _check_kind(config["model_type"], model["diffusion"])
    pretransform = model.get("pretransform") or {}
    own_pretransform = PRETRANSFORMS.get(str(pretransform.get("type")))
    if own_pretransform is not None:
        del model["pretransform"]
    entries = model["conditioning"]["configs"]
    own_conditioners = [entry for entry in entries if entry["type"] in CONDITIONERS]
    model["conditioning"]["configs"] = [entry for entry in entries if entry["type"] not in CONDITIONERS]
    network = create_diffusion_cond_from_config(config)
    for entry in own_conditioners:
        module = CONDITIONERS[entry["type"]](output_dim=model["conditioning"]["cond_dim"], **entry["config"])
        network.conditioner.conditioners[entry["id"]] = module
    if own_pretransform is not None:
        network.pretransform = own_pretransform(sample_rate=config["sample_rate"], **pretransform.get("config", {}))
        network.min_input_length *= network.pretransform.downsampling_ratio
    return network
