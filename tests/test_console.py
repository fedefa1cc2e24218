"""What a job's log holds when it ends well, by a user's mistake, and by a bug; and progress without a terminal."""

import pytest

from audioptq import console
from audioptq.console import job_log, progress
from audioptq.errors import UserError


def test_a_users_mistake_ends_the_job_with_one_paragraph(tmp_path, capsys):
    def job():
        with job_log(tmp_path / "logs" / "a.log") as log:
            log("started")
            raise UserError("The file x is not there. Put it there.")

    with pytest.raises(SystemExit) as caught:
        job()
    assert caught.value.code == 1
    assert capsys.readouterr().err.strip() == "Error: The file x is not there. Put it there."
    text = (tmp_path / "logs" / "a.log").read_text()
    assert "started" in text
    assert "The file x is not there." in text
    assert "Traceback" not in text


def test_a_bug_keeps_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError), job_log(tmp_path / "a.log"):
        _ = 1 / 0
    assert "ZeroDivisionError" in (tmp_path / "a.log").read_text()
    assert "test_console.py" in (tmp_path / "a.log").read_text()


def test_progress_passes_everything_on_and_is_quiet(capsys):
    assert list(progress(range(500), "count", unit="clip")) == list(range(500))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("count: 500/500 clip, ")


def test_progress_says_what_is_left(capsys, monkeypatch):
    clock = iter(range(0, 10000, 70))  # every item takes over a minute
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    assert list(progress(iter("abcd"), "count", total=6, initial=2)) == list("abcd")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"count: {done}/6 it" for done in (3, 4, 5, 6)]
    assert lines[0].endswith("210 s left")
    assert "left" not in lines[-1]
