"""Trained networks: loaded together for measuring, and published to the directory that ships."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioptq.embed.run import load_evaluator
from audioptq.files.artifacts import atomic_path, read_tensor_metadata, read_tensors, write_json
from audioptq.models.stable_audio.adapter import StableAudioModel


@dataclass(frozen=True)
class Trained:
    """A trained model and its evaluators."""

    model: StableAudioModel
    tagger: Any
    clap: Any


def load_trained(dit: str | Path, tagger: str | Path, clap: str | Path) -> Trained:
    """Loads the three files that training leaves."""
    tensors, metadata = read_tensors(dit)
    model = StableAudioModel(metadata["model_config"])
    model.network.load_state_dict(tensors)
    files = {"tagger_mini": Path(tagger), "clap_mini": Path(clap)}
    return Trained(model, *(load_evaluator(name, files).network for name in files))


def publish(
    dit: str | Path, tagger: str | Path, clap: str | Path, *, card: str | Path, page: str | Path, directory: str | Path
) -> None:
    """Writes a model directory in stable-audio-tools' layout, with the evaluators and the card beside it."""
    directory = Path(directory)
    write_json(directory / "model_config.json", read_tensor_metadata(dit)["model_config"], sealed=False)
    names = {
        dit: "model.safetensors",
        tagger: "tagger_mini.safetensors",
        clap: "clap_mini.safetensors",
        card: "card.json",
        page: "card.md",
    }
    for source, name in names.items():
        with atomic_path(directory / name) as temporary:
            shutil.copyfile(source, temporary)
