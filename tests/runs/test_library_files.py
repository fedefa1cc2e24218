"""The code inputs of rules: what a script imports, and the modules that a recipe chooses by name."""

import os
from pathlib import Path

from audioptq.quantize import QuantRecipe
from audioptq.runs.library_files import PACKAGE, code_inputs, recipe_modules


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
