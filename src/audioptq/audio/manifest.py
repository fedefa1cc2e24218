"""Reads the manifest of generated clips, whose shards list what was generated and what became of it.

A clip's status is one of `USABLE` or of `UNUSABLE`; who asks what became of a clip takes the words from here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from audioptq.errors import damaged
from audioptq.files.artifacts import read_parquet

OK, CLIPPED, SILENT, NON_FINITE = "ok", "clipped", "silent", "non_finite"
USABLE = (OK, CLIPPED)
UNUSABLE = (SILENT, NON_FINITE)
CURE = "Delete the file and run snakemake again."
COLUMNS = ("clip_id", "caption", "seed", "path", "sample_rate", "n_samples", "gain", "status")


def read_manifest(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Reads the shards of a recipe's manifest as one table; its `attrs["source"]` names them in error texts.

    A relative `path` of a clip counts from the folder of the shard that lists it, so that a run can be moved.

    Raises:
        DamagedArtifactError: If a shard is damaged, lacks a column, or a clip occurs twice.
    """
    shards = []
    for path in map(Path, paths):
        shard, _ = read_parquet(path, columns=COLUMNS)
        shards.append(located(shard, path))
    manifest = pd.concat(shards, ignore_index=True)
    manifest.attrs["source"] = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more shards"
    check_unique(manifest, source_of(manifest))
    return manifest


def located(shard: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """A shard's manifest with the paths of its clips as they are from here, and the shard itself as `listed_in`."""
    folder = Path(path).parent
    return shard.assign(path=[str(folder / clip) for clip in shard["path"]], listed_in=str(path))


def source_of(frame: pd.DataFrame, default: str = "the manifest") -> str:
    """What to call a table in an error text."""
    return str(frame.attrs.get("source", default))


def check_unique(frame: pd.DataFrame, source: str) -> None:
    """Raises DamagedArtifactError if a clip occurs twice."""
    twice = frame.loc[frame["clip_id"].duplicated(), "clip_id"]
    if len(twice):
        raise damaged(source, f"the clip {twice.iloc[0]!r} occurs twice in it", CURE)


def failed_clips(manifest: pd.DataFrame) -> dict[str, str]:
    """Clips of a manifest without usable audio, and their status; clipped clips are usable.

    Example:
        >>> failed_clips(pd.DataFrame({"clip_id": ["a", "b"], "status": ["ok", "silent"]}))
        {'b': 'silent'}

    Raises:
        DamagedArtifactError: If a status is none of ok, clipped, silent, non_finite.
    """
    unknown = sorted(set(map(str, manifest["status"])) - {*USABLE, *UNUSABLE})
    if unknown:
        known = ", ".join((*USABLE, *UNUSABLE))
        raise damaged(source_of(manifest), f"it has the status {unknown[0]!r}, which is none of {known}", CURE)
    failed = manifest[manifest["status"].isin(UNUSABLE)]
    return dict(zip(failed["clip_id"], failed["status"], strict=True))


def compute_by_recipe(manifests: Mapping[str, Sequence[str | Path]]) -> dict[str, str]:
    """How the products of each recipe ran, as its shards' metadata say; `integer` only if all of them do.

    Shards may be made on machines of different abilities. What was not on integers throughout is what the other shards
    say, so that its time is not taken for that of integers. A recipe whose shards say nothing is left out.
    """
    found = {}
    for recipe, paths in manifests.items():
        said = {str(read_parquet(path)[1].get("compute", "")) for path in paths}
        told = sorted(said - {"", "integer"}) or sorted(said - {""})
        if told:
            found[recipe] = told[0]
    return found


def by_recipe(paths: Sequence[str | Path]) -> dict[str, list[str]]:
    """Groups manifests by the recipe that their metadata name, in the order given."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        recipe = read_parquet(path)[1].get("recipe")
        if recipe is None:
            raise damaged(path, "it does not say its recipe", CURE)
        groups.setdefault(recipe, []).append(str(path))
    return groups
