"""A forked job is to Snakemake what a process of its own would be, and nothing of it outlives what it belongs to."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audioptq.runs import forkserver
from audioptq.runs.forkserver.client import SERVER_ENDED

pytestmark = pytest.mark.skipif(not forkserver.can_fork(), reason="this system cannot fork jobs")

SECONDS = 30.0
IMPORTED = "fractions"
# Parent, whether a module was there before it was asked for, folder, arguments, a variable, and every stream.
JOB = f"""
import os, sys
print(os.getppid(), {IMPORTED!r} in sys.modules, os.getcwd(), sys.argv, len(os.environ["LONG"]), __name__, __file__)
print("to standard error", file=sys.stderr)
mode = sys.argv[1]
if mode == "0": sys.exit()
if mode == "3": sys.exit(3)
if mode == "words": sys.exit("a sentence")
if mode == "bug": {{}}["nothing"]
if mode == "atexit":
    import atexit; atexit.register(print, "at exit")
if mode == "thread":
    import concurrent.futures, time
    concurrent.futures.ThreadPoolExecutor().submit(lambda: (time.sleep(0.5), print("at exit")))
if mode == "killed": os.kill(os.getpid(), 9)
if mode == "terminated": os.kill(os.getpid(), 15)
if mode == "sleep":
    import time
    try:
        print(os.getpid(), flush=True)
        time.sleep(600)
    finally: time.sleep(0.5); print("put in order", file=sys.stderr)
"""
# Starts a server as a driver does, says which, and stays.
DRIVER = """
import sys, time
from audioptq.runs import forkserver
server = forkserver.start(sys.argv[1], sys.argv[2:])
print(server.pid, flush=True)
time.sleep(600)
"""


@contextmanager
def driver(address: str, *imports: str, code: str = DRIVER) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A driver, and the number of its server, as soon as that answers."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, address, *imports], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        server = int(process.stdout.readline())
        until(lambda: f"@{address}" in Path("/proc/net/unix").read_text() or not is_there(server))
        yield process, server
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not asked for its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    return f"audioptq-test-{os.getpid()}-{abs(hash(request.node.nodeid))}"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "tmpabc.a job.py"
    path.write_text(JOB)
    return path


def start(address: str, job: Path, *arguments: str, **options: object) -> "subprocess.Popen[str]":
    """A job as Snakemake starts it."""
    command = f"set -euo pipefail; {forkserver.prefix(address)}{sys.executable} '{job}' {' '.join(arguments)}"
    return subprocess.Popen(
        ["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=job.parent, env=os.environ | {"LONG": "x" * 100_000}, **options,
    )  # fmt: skip


MODES = {
    "0": (0, ""),
    "3": (3, ""),
    "words": (1, "a sentence"),
    "bug": (1, "KeyError: 'nothing'"),
    "atexit": (0, ""),
    "thread": (0, ""),
    "killed": (-signal.SIGKILL, ""),
    "terminated": (-signal.SIGTERM, ""),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_forked_job_is_what_a_process_of_its_own_would_be(address: str, job: Path, mode: str) -> None:
    outputs = {}
    with driver(address, IMPORTED) as (_, server):
        for name in (address, "nobody answers here"):
            process = start(name, job, mode)
            output, errors = process.communicate(timeout=SECONDS)
            assert process.returncode == MODES[mode][0], errors
            assert "to standard error" in errors
            assert MODES[mode][1] in errors
            if mode in ("killed", "terminated"):  # what it printed was still with it
                continue
            parent, was_there, rest = output.split(" ", 2)
            outputs[name] = rest
            assert (int(parent) == server, was_there) == (name == address, str(name == address))
            assert ("at exit" in output) == (mode in ("atexit", "thread"))
    assert len(set(outputs.values())) <= 1


def test_jobs_run_side_by_side(address: str, job: Path) -> None:
    with driver(address):
        waiting = start(address, job, "sleep")
        waiting.stdout.readline()
        pid = int(waiting.stdout.readline())
        assert start(address, job, "3").wait(SECONDS) == 3
        assert waiting.poll() is None
        assert is_there(pid)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_ends_with_the_process_that_stands_for_it(address: str, job: Path, end: int) -> None:
    with driver(address):
        process = start(address, job, "sleep")
        process.stdout.readline()
        pid = int(process.stdout.readline())
        process.send_signal(end)
        assert process.wait(SECONDS) == -end
        until(lambda: not is_there(pid))
        assert start(address, job, "3").wait(SECONDS) == 3, "the server goes on"


@pytest.mark.parametrize("victim", ["server", "driver"])
def test_nothing_outlives_the_driver_or_the_server(address: str, job: Path, victim: str) -> None:
    with driver(address) as (of, server):
        process = start(address, job, "sleep")
        process.stdout.readline()
        pid = int(process.stdout.readline())
        os.kill(server if victim == "server" else of.pid, signal.SIGKILL)
        until(lambda: not is_there(pid) and not is_there(server))
        assert process.wait(SECONDS) == 1
        assert SERVER_ENDED.strip() in process.stderr.read()
        assert start(address, job, "3").wait(SECONDS) == 3, "later jobs start on their own"


def test_ctrl_c_ends_jobs_and_not_the_server(address: str, job: Path) -> None:
    with driver(address) as (_, server):
        process = start(address, job, "sleep")
        process.stdout.readline()
        pid = int(process.stdout.readline())
        for each in (process.pid, server, pid):  # as a terminal does
            os.kill(each, signal.SIGINT)
        assert process.wait(SECONDS) == -signal.SIGINT
        errors = process.stderr.read()
        assert "KeyboardInterrupt" in errors
        assert "put in order" in errors, "the job was killed before it had ended"
        assert is_there(server)


def test_what_has_threads_is_not_forked(address: str, job: Path) -> None:
    module = job.with_name("imported.py")
    module.write_text("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()")
    with driver(address, str(module)) as (process, server):
        until(lambda: not is_there(server))
        output, _ = start(address, job, "0").communicate(timeout=SECONDS)
        assert int(output.split()[0]) != server
        process.kill()
        assert "what they import has started threads (python" in process.stderr.read()


def test_what_has_opened_a_gpu_is_not_forked(tmp_path: Path) -> None:
    code = f"""
from audioptq.runs.forkserver.server import why_not_fork
print(why_not_fork())
held = open({str(tmp_path / "gpu0")!r}, "w")
print(why_not_fork(({str(tmp_path / "gpu")!r},)))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.splitlines() == ["None", "what they import has opened a GPU"], answer.stderr


def test_a_failing_import_is_left_to_its_job(address: str, job: Path) -> None:
    module = job.with_name("imported.py")
    module.write_text("import os\nos.environ['LONG'] = 'set by an import'\nraise OSError('too early')")
    with driver(address, str(module), "no_such_module", IMPORTED) as (_, server):
        output, _ = start(address, job, "0").communicate(timeout=SECONDS)
        assert output.split()[:2] == [str(server), "True"]
        assert f" {len('set by an import')} __main__ " in output, "what imports set, a job finds set"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_nobody_else_has_jobs_forked(address: str, job: Path) -> None:
    ask = f"""
import os, socket
from audioptq.runs.forkserver.client import _connect
os.setuid(65534)
print(_connect({address!r}))
with socket.socket(socket.AF_UNIX) as server:
    server.connect("\\0{address}")
    server.settimeout({SECONDS})
    print(server.recv(9))
"""
    with driver(address):
        answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
        # Their client trusts no other user's server, and the server hangs up on them.
        assert answer.stdout.splitlines() == ["None", "b''"], answer.stderr
        assert start(address, job, "3").wait(SECONDS) == 3


def test_a_job_that_cannot_be_forked_starts_on_its_own(address: str, job: Path) -> None:
    # Stands for a server that has no room for one more process: it listens, and hangs up.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{address}")
        listener.listen()
        process = start(address, job, "3")
        client, _ = listener.accept()
        client.recv(4)
        client.close()
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 3
        assert " __main__ " in output


def test_what_is_no_script_is_left_alone(address: str, tmp_path: Path) -> None:
    with driver(address):
        command = f"{forkserver.prefix(address)}{shutil.which('env')} echo one word"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
        assert (done.stdout, done.returncode) == ("one word\n", 0)


def test_a_full_server_loses_one_job_and_no_other(address: str, job: Path) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))\n{DRIVER}"
    with driver(address, code=limited):
        waiting = [start(address, job, "sleep") for _ in range(12)]
        for process in waiting:
            process.stdout.readline()
        pids = [int(process.stdout.readline()) for process in waiting]
        assert all(map(is_there, pids))
        for process in waiting:
            process.kill()
        until(lambda: not any(map(is_there, pids)))
        assert start(address, job, "3").wait(SECONDS) == 3
