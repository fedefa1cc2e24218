"""A finished run as a listening test sees it: which recipes there are, their clips, and the prompts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.audio.manifest import read_manifest
from audioptq.errors import UserError, did_you_mean
from audioptq.files.artifacts import read_parquet

BASELINE = "fp32"
UNUSABLE = ("silent", "non_finite")
SEED_FOLDER = re.compile(r"seed(\d+)")


@dataclass(frozen=True)
class FinishedRun:
    """What a folder of results holds.

    Attributes:
        model: Name of the model.
        seed: Seed of the noise that the clips were generated from.
        prompts: Table of the prompts that have clips, with `clip_id`, `caption`, `kind` and `labels`.
        clips: Manifest rows of each recipe by clip id, `{recipe: {clip_id: row}}`; full precision among the recipes.
    """

    model: str
    seed: int
    prompts: pd.DataFrame
    clips: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def unusable(self, recipe: str) -> list[str]:
        """Ids of the clips of a recipe that are silence or not finite, so that nobody can listen to them."""
        return [clip_id for clip_id, row in self.clips[recipe].items() if row["status"] in UNUSABLE]


def open_run(
    results: str | Path, recipes: Sequence[str] = (), model: str | None = None, noise_seed: int | None = None
) -> FinishedRun:
    """Reads the manifests and prompts of a run.

    Args:
        results: The config's `results`.
        recipes: Which to read beside full precision; all if none is named.
        model: Needed only if the folder holds clips of several.
        noise_seed: Of the clips; by default the one that most recipes have, the smallest if there are several.

    Raises:
        UserError: If there is no such model, seed or recipe, or no run at all.
        DamagedArtifactError: If a manifest or the table of prompts is damaged.
    """
    folder = _model_folder(Path(results), model)
    seeds = {path.name: _seeds(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    if not seeds.get(BASELINE):
        raise UserError(
            f"{folder} holds no clips of {BASELINE}, with which a listening test compares. Let the run finish first."
        )
    # Full precision may have further seeds, which serve as the noise floor.
    common = min(seeds[BASELINE], key=lambda seed: (-sum(seed in found for found in seeds.values()), seed))
    seed = common if noise_seed is None else noise_seed
    there = [recipe for recipe, found in seeds.items() if seed in found]
    if BASELINE not in there:
        raise UserError(
            f"{folder} holds no clips of {BASELINE} with seed {seed}; it has {_listed(map(str, seeds[BASELINE]))}."
        )
    for recipe in recipes:
        if recipe not in there:
            raise UserError(
                f"{folder} holds no clips of the recipe {recipe!r} with seed {seed}; it has {_listed(there)}."
                f"{did_you_mean(recipe, there)}"
            )
    wanted = [BASELINE, *(name for name in (recipes or there) if name != BASELINE)]
    clips = {recipe: _rows(folder / recipe / f"seed{seed}") for recipe in dict.fromkeys(wanted)}
    return FinishedRun(folder.name, seed, _prompts(Path(results), set(clips[BASELINE])), clips)


def _model_folder(results: Path, model: str | None) -> Path:
    generated = results / "generate"
    models = sorted(path.name for path in generated.iterdir() if path.is_dir()) if generated.is_dir() else []
    if not models:
        raise UserError(
            f"{results} holds no generated clips ({generated} is missing or empty). Name the folder that the config calls "
            "`results`, after a run has finished."
        )
    if model is None and len(models) > 1:
        raise UserError(f"{results} holds clips of several models, {_listed(models)}: name one with --model.")
    if model is not None and model not in models:
        raise UserError(
            f"{results} holds no clips of {model!r}; it has {_listed(models)}.{did_you_mean(model, models)}"
        )
    return generated / (model or models[0])


def _seeds(recipe_folder: Path) -> list[int]:
    matches = [SEED_FOLDER.fullmatch(path.name) for path in recipe_folder.iterdir()]
    found = [int(match[1]) for match in matches if match]
    return sorted(seed for seed in found if any((recipe_folder / f"seed{seed}").glob("shard-*.parquet")))


def _rows(folder: Path) -> dict[str, dict[str, Any]]:
    manifest = read_manifest(sorted(folder.glob("shard-*.parquet")))
    return {str(row["clip_id"]): row for row in manifest.to_dict("records")}


def _prompts(results: Path, clip_ids: set[str]) -> pd.DataFrame:
    """The table of prompts that names the clips."""
    paths = sorted(path for path in (results / "prompts").glob("*.parquet") if not path.stem.endswith(".calibration"))
    for path in paths:
        frame, _ = read_parquet(path, ("clip_id", "caption"))
        found = frame[frame["clip_id"].isin(clip_ids)]
        if len(found) == len(clip_ids):
            return found.reindex(columns=["clip_id", "caption", "kind", "labels"]).reset_index(drop=True)
    raise UserError(
        f"No table of prompts in {results / 'prompts'} names the clips of the run. Let the run finish, or name its whole folder."
    )


def _listed(names: Any) -> str:
    return ", ".join(names)
