"""Which library files a script uses: what the workflow watches, so that an edit reruns the stages that use it, and only those."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# Sources of kernels, which no import statement names.
COMPILED = (".cpp", ".h")
# A package whose `__init__` imports this may import any module of its folder by name.
SCANS = "from audioptq.files.literals import files_with"


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
    """Files of `audioptq.a.b`: the module's own, the `__init__` of every package around it, and what these find beside them."""
    parts = name.split(".")
    if parts[0] != "audioptq":
        return []
    inits = [PACKAGE.joinpath(*parts[1:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    module = PACKAGE.joinpath(*parts[1:]).with_suffix(".py") if len(parts) > 1 else inits[0]
    found = [path for path in (*inits, module) if path.is_file()]
    return found + [path for init in inits for path in _found_beside(init)]


@cache
def _found_beside(init: Path) -> tuple[Path, ...]:
    """What a package uses of its folder that no import names: compiled sources, and modules that it looks for there."""
    suffixes = (*COMPILED, ".py") if init.is_file() and SCANS in init.read_text(encoding="utf-8") else COMPILED
    return tuple(path for path in init.parent.glob("*") if path.suffix in suffixes)
