"""The code inputs of rules: what a script imports, and the modules that a recipe chooses by name."""

import os
from pathlib import Path

import pytest

from audioptq.quantize import QuantRecipe
from audioptq.runs.library_files import CHOSEN_BY_RECIPES, PACKAGE, code_inputs, recipe_modules, statistic_modules

ROOT = Path(__file__).parents[2]


def test_code_inputs_are_counted_from_here_and_hold_the_modules_that_are_named() -> None:
    module = PACKAGE / "embed" / "clap_mini.py"
    script = Path(__file__).parents[2] / "scripts" / "merge_calibration.py"
    files = code_inputs(script, module)
    assert os.path.relpath(module) in files
    assert os.path.relpath(PACKAGE / "calibrate" / "merge.py") in files
    assert os.path.relpath(script) not in files  # Snakemake watches it itself
    assert files == sorted(files)


def test_a_recipe_s_modules_are_those_that_it_names(tmp_path: Path) -> None:
    for name in ("nearest", "mse", "range", "hessian"):
        (tmp_path / f"{name}.py").touch()
    folders = [tmp_path, tmp_path / "absent"]
    weight = {"bits": 8, "granularity": "per_channel"}
    plain, rounded = QuantRecipe.from_config("mse", {}), QuantRecipe.from_config("a", {"weight": weight})
    assert recipe_modules([plain], folders) == []
    assert recipe_modules([plain, rounded], folders) == [tmp_path / "nearest.py"]  # the default


@pytest.mark.parametrize("script", ["calibrate", "merge_calibration", "quantize", "generate", "bench", "report"])
def test_no_script_has_roundings_or_statistics_but_those_that_a_recipe_names(script: str) -> None:
    files = {Path(path) for path in code_inputs(ROOT / "scripts" / f"{script}.py")}
    chosen = {Path(os.path.relpath(folder)) for folder in CHOSEN_BY_RECIPES}
    assert {path.name for path in files if path.parent in chosen} <= {"__init__.py"}


def test_statistics_are_watched_by_name() -> None:
    (path,) = statistic_modules(["range"])
    assert path.is_file()
