"""Evaluators are found by reading their files: nothing is imported, and each is one file."""

import pytest

from audioptq.errors import UserError
from audioptq.evaluators import evaluator_info, evaluators
from audioptq.runs.library_files import PACKAGE
from audioptq.score.table import METRICS, STATISTICS


def test_an_evaluator_is_one_file_with_two_literals(tmp_path):
    (tmp_path / "ears.py").write_text(
        'METRICS = {"fd_ears": {"statistic": "fd", "label": "FD"}}\nWEIGHTS = {"a": ["x"], "b": ["y"]}\n'
    )
    (tmp_path / "helper.py").write_text("import does_not_exist\n")
    found = evaluators(tmp_path)
    assert list(found) == ["ears"]
    assert found["ears"].variant(None) == "a"
    assert found["ears"].variant("b") == "b"
    with pytest.raises(UserError, match=r"no variant 'c'; it has a, b.*evaluators\.ears\.variant"):
        found["ears"].variant("c")


def test_every_metric_of_an_evaluator_is_registered_under_its_statistic():
    declared = {metric: (info.id, entry) for info in evaluators().values() for metric, entry in info.metrics.items()}
    assert {"clap_mini", "kl_mini", "fd_mini"} <= set(declared)
    for metric, (evaluator, entry) in declared.items():
        registered, shared = METRICS[metric], STATISTICS[entry["statistic"]]
        assert registered.embedder == evaluator
        assert metric.startswith(f"{entry['statistic']}_")
        assert (registered.unit, registered.module, registered.set_level) == (
            shared.unit,
            shared.module,
            shared.set_level,
        )


def test_evaluators_are_files_of_the_embed_folder():
    assert all(info.path == PACKAGE / "embed" / f"{name}.py" for name, info in evaluators().items())
    with pytest.raises(UserError, match=r"no evaluator 'clap_min'\. Did you mean 'clap_mini'"):
        evaluator_info("clap_min")
