"""What a job's log holds when it ends well, by a user's mistake, and by a bug; and progress without a terminal."""

import os
import pty
import signal
import subprocess
import sys
import termios

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


def test_progress_writes_at_most_a_line_a_minute_and_one_at_the_end(capsys, monkeypatch):
    clock = iter(range(1000))  # every item takes a second
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    assert len(list(progress(range(200), "count", unit="clip"))) == 200
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["60/200", "120/200", "180/200", "200/200"]
    assert lines[0] == "count: 60/200 clip, 1.00 clip/s, 140 s left"


COUNT = "from audioptq.console import progress; list(progress(range(3), 'count', unit='clip'))"


def test_progress_in_a_log_file_is_lines(tmp_path):
    with (tmp_path / "log").open("w") as handle:
        subprocess.run([sys.executable, "-c", COUNT], stderr=handle, check=True)
    text = (tmp_path / "log").read_text()
    assert text.startswith("count: 3/3 clip, ")
    assert text.count("\n") == 1
    assert "\r" not in text


def test_progress_on_a_terminal_is_a_bar():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    subprocess.run([sys.executable, "-c", COUNT], stderr=theirs, check=True)
    text = os.read(ours, 10000).decode()
    os.close(theirs)
    os.close(ours)
    assert "count: 100%|" in text
    assert "\r" in text


JOB = """
import sys, time
from audioptq.console import job_log
with job_log(sys.argv[1]):
    print("at work", flush=True)
    time.sleep(60)
"""


def start_job(driver, log):
    environment = os.environ | {"AUDIOPTQ_DRIVER": str(driver)}
    return subprocess.Popen([sys.executable, "-c", JOB, str(log)], env=environment, stdout=subprocess.PIPE)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system does not tell when another process ends")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_ends_with_its_driver(tmp_path, end):
    driver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    job = start_job(driver.pid, tmp_path / "a.log")
    assert job.stdout.readline() == b"at work\n"
    assert job.poll() is None
    driver.send_signal(end)  # and nobody has asked for its status yet
    assert job.wait(timeout=30) != 0
    driver.wait()
    late = start_job(driver.pid, tmp_path / "b.log")
    assert late.stdout.read() == b""
    assert late.wait(timeout=30) != 0


def test_a_log_that_cannot_be_written_hides_no_mistake(tmp_path, capsys):
    log = tmp_path / "a.log"
    log.mkdir()

    def job():
        with job_log(log) as line:
            line("a word")
            raise UserError("The disk is full.")

    with pytest.raises(SystemExit):
        job()
    assert "Error: The disk is full." in capsys.readouterr().err
