"""Models in stable-audio-tools' layout: mini and Stable Audio Open, by one path.

Importing this loads nothing heavy; the functions are those that `models.registry` names.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioptq.errors import UserError

if TYPE_CHECKING:
    from audioptq.models.stable_audio.adapter import StableAudioModel

# Quantized files of format version 2 name no family: there was this one alone.
IS_UNNAMED_IN_OLD_FILES = True


def recognises(folder: Path) -> bool:
    """By `model_config.json`; a directory in diffusers' layout of the same model is told what to do by `open_model`."""
    return (folder / "model_config.json").exists() or (folder / "model_index.json").exists()


def model_files(folder: Path) -> list[Path]:
    """Configuration and weights; a checkpoint stands in for a safetensors file that is absent."""
    pickled, weights = folder / "model.ckpt", folder / "model.safetensors"
    return [folder / "model_config.json", pickled if pickled.is_file() and not weights.is_file() else weights]


def site_names(folder: Path) -> list[str]:
    """From the header of the weights."""
    from audioptq.models.stable_audio.files import weights_file
    from audioptq.models.stable_audio.sites import block_linears

    return block_linears(weights_file(folder))


def objective_name(folder: Path) -> str | None:
    """From the configuration; None for one that cannot be read, of which loading says what is wrong."""
    from audioptq.models.stable_audio import config

    try:
        return config.objective_name(json.loads((folder / "model_config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, UserError):
        return None


def open_model(folder: Path, text_encoder: str | Path | None, text_dtype: str | None) -> "StableAudioModel":
    """See `registry.open_model`."""
    from audioptq.models.stable_audio.adapter import StableAudioModel

    return StableAudioModel.load(folder, text_encoder, text_dtype)


def build_model(config: dict[str, Any], text_encoder: str | Path | None, text_dtype: str | None) -> "StableAudioModel":
    """See `registry.build_model`."""
    from audioptq.models.stable_audio.adapter import StableAudioModel

    return StableAudioModel(config, text_encoder, text_dtype, initialise=False)
