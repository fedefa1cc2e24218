"""Which families of models there are, and which one a directory is of: told by its files.

A family is a folder beside this file. Its `__init__.py` imports nothing heavy and answers:

* `recognises(folder)`: whether the files of a directory are of this family.
* `model_files(folder)`: the files that loading reads, configuration first.
* `site_names(folder)`: names of the layers that recipes choose from, without building the network.
* `open_model(folder, text_encoder, text_dtype)`: the full-precision model.
* `build_model(config, text_encoder, text_dtype)`: a model without weights, from the configuration in a quantized file.
* `objective_name(folder)`, which it may lack: the objective, a key of `noise_levels.NAMES`, without building the network; None where
  that cannot be said. With it a sampler that is not for the model is refused before any job.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioptq.errors import UserError

if TYPE_CHECKING:  # it imports torch, which the workflow need not wait for when it asks which files a model has
    from audioptq.models.base import AudioModel

FOLDER = Path(__file__).parent


@cache
def families(folder: Path = FOLDER) -> dict[str, Path]:
    """The folder of every family, by its name."""
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/__init__.py"))}


def family_of(folder: str | Path) -> str:
    """The family of a model directory.

    Raises:
        UserError: If the directory is absent, or of no family, or of several.
    """
    if not Path(folder).is_dir():
        raise UserError(f"There is no model directory {folder}: point `models` in the config, or the command, at one.")
    found = [name for name in families() if _family(name).recognises(Path(folder))]
    if not found:
        there = ", ".join(sorted(path.name for path in Path(folder).iterdir())[:8]) or "nothing"
        raise UserError(
            f"The model directory {folder} is of no family that is known here ({', '.join(families())}); it holds {there}. "
            "See docs/adding-a-model.md for the files of each."
        )
    if len(found) > 1:
        raise UserError(
            f"The model directory {folder} has the files of {len(found)} families ({', '.join(found)}), and nothing says which is "
            "meant: take the files of all but one out of it."
        )
    return found[0]


def model_files(folder: str | Path) -> list[str]:
    """The files of a model directory that loading reads, configuration first."""
    return [str(path) for path in _family(family_of(folder)).model_files(Path(folder))]


def site_names(folder: str | Path) -> list[str]:
    """Names of the layers that recipes choose from, without building the network."""
    return list(_family(family_of(folder)).site_names(Path(folder)))


def objective_name(folder: str | Path) -> str | None:
    """The objective of a directory's model, without building the network; None if its family does not say."""
    family = _family(family_of(folder))
    return family.objective_name(Path(folder)) if hasattr(family, "objective_name") else None


def open_model(
    folder: str | Path, text_encoder: str | Path | None = None, text_dtype: str | None = None
) -> "AudioModel":
    """The full-precision model of a directory.

    Args:
        folder: Of the model.
        text_encoder: Directory of its text encoder, where that lies apart; without it a model can be quantized but takes no
            captions.
        text_dtype: In which the text encoder computes; None for the model's own choice.

    Raises:
        UserError: If the directory is of no family, or its model is none that is sampled here.
        DamagedArtifactError: If a file is missing or damaged.
    """
    model: AudioModel = _family(family_of(folder)).open_model(Path(folder), text_encoder, text_dtype)
    return model


def build_model(
    family: str | None, config: Mapping[str, Any], text_encoder: str | Path | None = None, text_dtype: str | None = None
) -> "AudioModel":
    """A model without weights, which a quantized file fills.

    Args:
        family: Its name; None of a file of format version 2, which names none.
        config: Of the model.
        text_encoder: See `open_model`.
        text_dtype: See `open_model`.

    Raises:
        UserError: If there is no such family, or the configuration is not of a model that is sampled here.
    """
    if family is None:
        family = next(name for name in families() if getattr(_family(name), "IS_UNNAMED_IN_OLD_FILES", False))
    if family not in families():
        raise UserError(
            f"The file is of a model of the family {family!r}, which this version of audioptq does not know ("
            f"{', '.join(families())})."
        )
    model: AudioModel = _family(family).build_model(dict(config), text_encoder, text_dtype)
    return model


def folder_of(files: Sequence[str | Path] | None) -> Path | None:
    """The folder that holds `files`; None if there are none."""
    return Path(files[0]).parent if files else None


def _family(name: str) -> Any:
    return import_module(f"audioptq.models.{name}")
