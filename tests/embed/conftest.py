"""Random weights of published evaluators, in the layout of the published files, written once and removed at the end."""

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, Path]]]:
    """`published(name, **settings)`: the files that `published_evaluators.<name>.write` makes, by their names in weights.tsv."""
    made: dict[tuple, dict[str, Path]] = {}
    folders: list[Path] = []

    def files(name: str, **settings: str) -> dict[str, Path]:
        key = (name, *sorted(settings.items()))
        if key not in made:
            folders.append(tmp_path_factory.mktemp(name))
            made[key] = importlib.import_module(f"published_evaluators.{name}").write(folders[-1], **settings)
        return made[key]

    yield files
    for folder in folders:  # some are hundreds of megabytes, and pytest would keep three sessions of them
        shutil.rmtree(folder, ignore_errors=True)
