"""Imports run one way, the library knows nothing of the workflow, and light modules stay light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from audioptq.runs.library_files import PACKAGE, library_files

ROOT = Path(__file__).parents[1]
# A module imports only from those further up, and from its own.
LAYERS = (
    "errors",
    "site",
    "noise_levels",
    "files",
    "console",
    "machine",
    "evaluators",
    "fetch",
    "audio",
    "soundscapes",
    "prompts",
    "references",
    "models",
    "sampling",
    "calibrate",
    "quantize",
    "generate",
    "embed",
    "score",
    "report",
    "listen",
    "runs",
    "train",
    "bench",
    "commands",
    "cli",
)
FORBIDDEN = {
    "quantize": {"audio", "models", "sampling"},  # quantizes any torch module
    "score": {"models", "embed", "quantize", "generate"},  # scores any files
    "train": {"report", "runs"},
    "runs": {"generate", "report", "train"},
    "report": {"models", "generate", "embed"},
    "bench": {"embed", "score", "train"},
    "commands": {"score", "report", "train"},
}
# `runs.config_check` and `train` read no configuration: the former is handed it, the latter has its settings passed.
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """Names of everything a source file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_imported(path):
    """Parts of the library that a source file imports, other than its own."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("audioptq.")} - {part_of(path)}


def test_every_part_has_its_layer():
    assert {part_of(path) for path in MODULES} - {"__init__"} == set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    part = part_of(path)
    allowed = set(LAYERS[: LAYERS.index(part)]) if part in LAYERS else set()
    assert parts_imported(path) <= allowed - FORBIDDEN.get(part, set())


def test_the_library_knows_nothing_of_the_workflow():
    for path in MODULES:
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & {"snakemake", "scripts", "tests"}, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):  # what is opened or joined; texts for the user may name the file
                words = [leaf.value for leaf in ast.walk(node.func) if isinstance(leaf, ast.Constant)]
                words += [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
                assert "config.yaml" not in words, path


def test_no_script_imports_another():
    for path in (ROOT / "scripts").glob("*.py"):
        assert not any(name.split(".")[0] == "scripts" for name in imported(path)), path


def test_no_two_modules_import_each_other():
    edges = {part: set().union(*(parts_imported(p) for p in MODULES if part_of(p) == part)) for part in LAYERS}
    assert edges["generate"] >= {"models", "quantize", "sampling"}  # the edges are really read
    assert not [(a, b) for a in edges for b in edges[a] if a in edges[b]]


@pytest.mark.parametrize(
    "module",
    [
        "audioptq",
        "audioptq.score",
        "audioptq.files.artifacts",
        "audioptq.console",
        "audioptq.prompts.dataset",
        "audioptq.evaluators",
        "audioptq.runs.status.run",
        "audioptq.runs.plan",
        "audioptq.runs.config_check",
        "audioptq.cli",
        "audioptq.fetch.weights",
    ],
)
def test_light_modules_load_no_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Makes `mini`, a model of one family, in that family's classes; nothing that runs another model imports it.
NAMES_A_FAMILY = {"train"}
FAMILIES = sorted(path.parent for path in (PACKAGE / "models").glob("*/__init__.py"))


def words_of(family):
    """What a family calls itself and its layers: folder, adapter, and the names that its table `ROLES` and `BLOCKS` hold."""
    words = {family.name}
    for path in family.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and "AudioModel" in {getattr(base, "id", "") for base in node.bases}:
                words.add(node.name)
            if isinstance(node, ast.Assign) and {"ROLES", "BLOCKS"} & {
                getattr(each, "id", "") for each in node.targets
            }:
                names = {leaf.value for leaf in ast.walk(node.value) if isinstance(leaf, ast.Constant)}
                paths = {name.strip(".") for name in names if "." in name}
                words |= paths | {part for name in paths for part in name.split(".") if "_" in part}
    return words


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_outside_a_family_names_it_or_its_layers(path, request):
    if part_of(path) in NAMES_A_FAMILY or any(family in path.parents for family in FAMILIES):
        return
    text = path.read_text(encoding="utf-8")
    found = [
        word for family in FAMILIES for word in sorted(words_of(family)) if re.search(rf"\b{re.escape(word)}\b", text)
    ]
    assert found == []


def test_the_words_of_a_family_are_really_read():
    words = words_of(PACKAGE / "models/stable_audio")
    assert words >= {"stable_audio", "StableAudioModel", "self_attn", "to_qkv", "to_kv", "self_attn.to_qkv", "ff.ff.2"}


def relative(files):
    return {str(Path(path).relative_to(PACKAGE)) for path in files}


def test_a_scripts_files_are_found_directly_and_through_others(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os\nfrom audioptq.files.artifacts import digest\n")
    assert relative(library_files(script)) == {
        "__init__.py",
        "files/__init__.py",
        "files/artifacts.py",
        "files/atomic.py",
        "errors.py",
        "files/checksum.py",
    }
    script.write_text("def main():\n    from audioptq.prompts import table\n")
    assert relative(library_files(script)) == {"__init__.py", "errors.py", "prompts/__init__.py", "prompts/table.py"}
    script.write_text("import numpy\nimport audioptq_else\n")
    assert library_files(script) == []
    script.write_text("from audioptq.quantize.integer.native import Native")
    assert relative(library_files(script)) >= {
        f"quantize/integer/native/{name}" for name in ("library.py", "kernels.cpp", "tiles.h", "rows.h")
    }


@pytest.mark.parametrize(
    ("script", "there", "absent"),
    [
        (
            "generate",
            {"generate/shard.py", "sampling/noise.py", "models/registry.py", "quantize/layers/quant_op.py"},
            {"score/kl.py", "report/page/sentences.py"},
        ),
        (
            "quantize",
            {"quantize/arithmetic/smooth.py", "calibrate/act_stats.py"},
            {"sampling/noise.py", "score/kl.py", "soundscapes/noise.py"},
        ),
        (
            "embed_clips",
            {"embed/run.py", "embed/cache.py", "evaluators.py"},
            {"quantize/layers/quant_op.py", "sampling/noise.py"},
        ),
        (
            "references",
            {"references/worker.py", "prompts/dataset.py"},
            {"models/stable_audio/mel_pca.py", "score/kl.py"},
        ),
        (
            "prompts",
            {"prompts/synthesised.py", "soundscapes/render.py"},
            {"models/stable_audio/mel_pca.py", "score/kl.py"},
        ),
    ],
)
def test_a_stage_depends_on_its_own_code_alone(script, there, absent):
    files = relative(library_files(ROOT / "scripts" / f"{script}.py"))
    assert there <= files
    assert not absent & files
