"""Literals at the top of source files: what a file says of itself, found without importing it.

The workflow asks for them each time it starts, and in jobs that have no torch: importing it would take seconds.
"""

import ast
from collections.abc import Collection
from pathlib import Path
from typing import Any


def literals_of(path: Path, names: Collection[str]) -> dict[str, Any]:
    """The values of a file's top-level assignments to these names, by name; those that it lacks are left out."""
    return {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in names
    }


def files_with(folder: Path, name: str) -> dict[str, Any]:
    """Value of a literal in every Python file of a folder that has it, by the name of the file, in the order of the names."""
    found = {path.stem: literals_of(path, [name]) for path in sorted(folder.glob("*.py"))}
    return {stem: literals[name] for stem, literals in found.items() if name in literals}
