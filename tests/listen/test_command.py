"""`audioptq listen`, as it is typed: each step, and each mistake as one paragraph."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from audioptq.cli import main
from audioptq.listen.build import key_path
from audioptq.listen.key import TestKey


def test_build_and_analyse(results, tools, tmp_path, capsys):
    folder = tmp_path / "test"
    main(
        [
            "listen",
            "build",
            str(results),
            "-o",
            str(folder),
            "--mode",
            "mushra",
            "--recipes",
            "w4a4_sqs",
            "--prompts",
            "clip-1",
            "clip-2",
        ]
    )
    said = capsys.readouterr().out
    assert "2 questions over 2 prompts" in said
    assert "Keep it to yourself" in said
    key = TestKey.read(key_path(folder))
    truth = {"fp32": 100, "w4a4_sqs": 30, "anchor_3k5": 10, "anchor_7k": 50}
    answers = tools.save(tmp_path / "in", *(tools.answers(key, lambda r, v: truth[v], index) for index in range(2)))
    broken = tmp_path / "in" / "broken.json"
    broken.write_text("{\x1b[2J")
    main(["listen", "analyse", str(key_path(folder)), str(answers[0].parent), "-o", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "2 simulated listeners" in said
    assert "w4a4_sqs - fp32: -70.0" in said
    assert f"Not counted: {broken}" in said
    assert "\x1b" not in said
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "listening.html", "listening.md", "listening.svg", "listening.json", "judgements.parquet", "judgements.csv"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["build", "nowhere", "-o", "x"], "nowhere holds no generated clips"),
        (["serve", "nowhere"], "nowhere holds no listening test"),
        (["analyse", "nowhere.key.json", "."], "nowhere.key.json cannot be used: it is missing"),
        (["analyse", "nowhere.key.json", "gone.json"], "There is no gone.json"),
        (["webmushra", "nowhere", "-o", "x"], "nowhere holds no listening test"),
    ],
)
def test_a_mistake_is_one_paragraph(tmp_path, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["listen", *arguments])
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert text in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_serve_says_where_and_ends_by_interrupt(built):
    folder, _ = built["rating"]
    command = [sys.executable, "-m", "audioptq.cli", "listen", "serve", str(folder), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            url = re.search(r"http://[^ ]+/", process.stdout.readline())[0]
            with urllib.request.urlopen(url, timeout=20) as reply:
                assert b"<title>Listening test</title>" in reply.read()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_the_commands_start_without_torch():
    modules = ("listen.build", "listen.answers.serve", "listen.analyse.findings", "listen.webmushra")
    code = f"import sys, {', '.join(f'audioptq.{module}' for module in modules)}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
