import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import audioptq.score
from audioptq.score.table import METRICS

MODULES = [module.name for module in pkgutil.iter_modules(audioptq.score.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"audioptq.score.{name}")).failed == 0


def test_import_is_light() -> None:
    code = (
        "import sys, audioptq.score.run, audioptq.score.table, audioptq.score.bootstrap; "
        "heavy = {'torch', 'librosa', 'scipy', 'numba', 'soundfile', 'audioptq.models'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_metrics_are_keyword_only_and_have_their_module() -> None:
    for metric, info in METRICS.items():
        module = importlib.import_module(f"audioptq.score.{info.module}")
        if info.embedder is None:
            assert list(inspect.signature(module.DISTANCES[metric]).parameters) == ["pair"], metric
        else:
            assert list(inspect.signature(module.score).parameters) == ["metric", "inputs"], metric
            assert set(module.TENSORS) == {"generated", "target"}
    for module_name, function in (("clap", "clap_score"), ("kl", "kl_divergence"), ("frechet.frechet", "frechet_distance"),
                                  ("mcd", "mcd_db"), ("mcd", "mcd_dtw_db"), ("lsd", "lsd_db")):  # fmt: skip
        parameters = inspect.signature(
            getattr(importlib.import_module(f"audioptq.score.{module_name}"), function)
        ).parameters
        assert {"target", "generated"} <= set(parameters)
        assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
