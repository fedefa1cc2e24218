"""Which library files a script uses: what the workflow watches, so that an edit reruns the stages that use it, and only those."""

import ast
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from audioptq.quantize.recipe.recipe import QuantRecipe

PACKAGE = Path(__file__).parents[1]
# Sources of kernels, which no import statement names.
COMPILED = (".cpp", ".h")
# Folders whose modules a recipe chooses by name, so that no import statement leads to them.
STATISTICS = PACKAGE / "calibrate" / "statistics"
CHOSEN_BY_RECIPES = (PACKAGE / "quantize" / "rounding", STATISTICS)


@cache
def code_inputs(*entries: str | Path) -> list[str]:
    """Library files behind a script, or behind modules that are imported by name, as inputs of a rule.

    Args:
        entries: Python files; those of the library are among the files.

    Returns:
        Paths from the working directory, so that a clone that is moved has the same inputs as before; sorted.
    """
    own = [str(entry) for entry in entries if Path(entry).is_relative_to(PACKAGE)]
    return sorted(map(os.path.relpath, {*own, *(file for entry in entries for file in library_files(entry))}))


def recipe_modules(recipes: Iterable[QuantRecipe], folders: Iterable[Path] = CHOSEN_BY_RECIPES) -> list[Path]:
    """Files of roundings and statistics that recipes use: those named as a value of a recipe, or as what it needs.

    Args:
        recipes: The recipes.
        folders: Where the modules lie; an absent one has none.

    Returns:
        Their paths, sorted.
    """
    named: set[str] = set()
    for recipe in recipes:
        named |= {*_texts(asdict(replace(recipe, name=""))), *(recipe.needs() if hasattr(recipe, "needs") else ())}
    return sorted(path for folder in folders for path in folder.glob("*.py") if path.stem in named)


def statistic_modules(names: Iterable[str]) -> list[Path]:
    """Files of statistics, which calibration and the merging of its shards import by name; sorted."""
    return sorted(STATISTICS / f"{name}.py" for name in names)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def library_files(script: str | Path) -> list[str]:
    """The library's files that `script` imports, directly or through others, sorted.

    Imports are read from the source, also those inside functions; nothing is run.

    Args:
        script: A Python file.
    """
    found: set[Path] = set()
    waiting = [Path(script)]
    while waiting:
        for path in _imported(waiting.pop()):
            if path not in found:
                found.add(path)
                if path.suffix == ".py":
                    waiting.append(path)
    return sorted(str(path) for path in found)


def _imported(path: Path) -> tuple[Path, ...]:
    return _imported_by(path.read_text(encoding="utf-8"))


@cache  # by the source: files are shared by most scripts, and the workflow asks again for every one of them
def _imported_by(source: str) -> tuple[Path, ...]:
    files: list[Path] = []
    for node in _statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            files += _module_files(name)
    return tuple(files)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every statement under `node`; unlike `ast.walk`, without the expressions, which are most of a tree."""
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, name, ()):
            yield child
            yield from _statements(child)


def _module_files(name: str) -> list[Path]:
    """Files of `audioptq.a.b`: the module's own, the `__init__` of every package around it, and compiled sources beside them."""
    parts = name.split(".")
    if parts[0] != "audioptq":
        return []
    inits = [PACKAGE.joinpath(*parts[1:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    module = PACKAGE.joinpath(*parts[1:]).with_suffix(".py") if len(parts) > 1 else inits[0]
    found = [path for path in (*inits, module) if path.is_file()]
    return found + [path for init in inits for path in _found_beside(init)]


@cache
def _found_beside(init: Path) -> tuple[Path, ...]:
    """Compiled sources in a package's folder, which no import names."""
    return tuple(path for path in init.parent.glob("*") if path.suffix in COMPILED)
