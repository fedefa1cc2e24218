"""The working directory of a plan: its processes, its disk, and what was finished in it."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from audioptq.runs.forkserver import SERVER
from tests.workflow_run import TIMING, Run, copy_of

# Without these even root may not read what has no permission to be read.
NO_PRIVILEGES = [f"--{kind}=-dac_override,-dac_read_search" for kind in ("bounding-set", "inh-caps")]
SECONDS = 900


class Workspace:
    """A copy of the undisturbed run in which a plan goes wrong.

    Attributes:
        folder: The working directory.
        results: Its results.
        environment: Of the processes.
        drivers: All that were started and not waited for at once.
        arguments: Those that choose where jobs run.
        damaged: Files that the plan damaged and no message has named yet: which file it was, and when.
        kept: Finished batches by their record: digest and time of the record and of each clip.
    """

    def __init__(self, undisturbed: Run, folder: Path, on_tmpfs: bool) -> None:
        self.folder, self.results = folder, folder / "results"
        self.on_tmpfs = on_tmpfs
        self.environment = dict(os.environ)
        self.drivers: list[subprocess.Popen[bytes]] = []
        self.arguments: list[str] = ["--cores", "2"]
        self.damaged: dict[Path, tuple[int, float]] = {}
        self.kept: dict[Path, dict[Path, tuple[str, int]]] = {}
        if on_tmpfs:
            self.results.mkdir(parents=True)
            _mount("size=1g", self.results)
        self.run = copy_of(undisturbed, folder)

    def command(self, *arguments: str) -> list[str]:
        command = self.run.command(*arguments)
        at = command.index("--cores")
        command[at : at + 2] = self.arguments
        return ["setpriv", *NO_PRIVILEGES, *command] if os.geteuid() == 0 else command

    def start(self, log: str = "driver.log") -> "subprocess.Popen[bytes]":
        """Starts a driver; what it prints goes to `log`."""
        with (self.folder / log).open("wb") as handle:
            driver = subprocess.Popen(
                self.command(), env=self.environment, stdout=handle, stderr=handle, start_new_session=True
            )
        self.drivers.append(driver)
        return driver

    def text(self, log: str = "driver.log") -> str:
        return (self.folder / log).read_text(encoding="utf-8", errors="replace")

    def finish(self, *arguments: str) -> tuple[int, str]:
        """Runs Snakemake to its end: its status and what it printed."""
        result = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=SECONDS
        )
        return result.returncode, result.stdout + result.stderr

    def processes(self) -> list[int]:
        """All processes that work in this directory."""
        return [pid for pid in _pids() if _link(f"/proc/{pid}/cwd") == str(self.folder)]

    def workers(self) -> list[int]:
        """Processes that run a rule's script."""
        return [pid for pid in self.processes() if b"/.snakemake/scripts/" in _bytes(f"/proc/{pid}/cmdline")]

    def servers(self) -> list[int]:
        """Processes that jobs are forked from."""
        return [pid for pid in self._of_forkserver() if _parent(pid) not in self._of_forkserver()]

    def forked(self) -> list[int]:
        """Jobs that were forked; what Snakemake started for each is among the workers."""
        return [pid for pid in self._of_forkserver() if _parent(pid) in self._of_forkserver()]

    def _of_forkserver(self) -> list[int]:
        return [pid for pid in self.processes() if SERVER.encode() in _bytes(f"/proc/{pid}/cmdline")]

    def await_worker(self, driver: "subprocess.Popen[bytes]", ordinal: int) -> int | None:
        """The `ordinal`-th worker that this driver starts; None if the run is over before."""
        seen: list[int] = []
        while driver.poll() is None:
            seen += [pid for pid in self.workers() if pid not in seen]
            if len(seen) > ordinal:
                return seen[ordinal]
            time.sleep(0.02)
        return None

    def await_quiet(self, seconds: float) -> bool:
        """Whether no process is left within so many seconds."""
        deadline = time.monotonic() + seconds
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def resize(self, bytes_free: int | None) -> None:
        """Leaves so many bytes on the disk of the results; None for plenty."""
        if bytes_free is None:
            _mount("remount,size=1g", self.results)
            return
        used = shutil.disk_usage(self.results).used
        _mount(f"remount,size={used + bytes_free}", self.results)

    def remember(self) -> None:
        """Notes the finished batches; none of them may be generated again from here on."""
        for record in self.results.glob("generate/**/*-batch-*.parquet"):
            try:
                clips = [record.parent.parent / path for path in pd.read_parquet(record)["path"]]
                if not self.damaged.keys() & {record, *clips}:
                    self.kept[record] = {path: fingerprint(path) for path in (record, *clips)}
            except (OSError, ValueError):  # damaged by this plan, or just being replaced
                continue

    def damage(self, path: Path) -> None:
        """Notes that a file is no longer what it was: its batch may be generated again."""
        self.damaged[path] = path.stat().st_ino, time.time()
        self.kept = {record: files for record, files in self.kept.items() if path not in files}

    def locks(self) -> list[Path]:
        return list(self.folder.glob(".snakemake/locks/*"))

    def table(self) -> pd.DataFrame:
        return self.run.table().drop(columns=TIMING)

    def close(self) -> None:
        """Ends what is left, by process number, and gives the disk back."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.await_quiet(20)
        if self.on_tmpfs:
            subprocess.run(["umount", str(self.results)], check=True)
        shutil.rmtree(self.folder)


def can_mount() -> bool:
    """Whether a small disk can be made for the plans that fill one."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


def fingerprint(path: Path) -> tuple[str, int]:
    """Digest of a file and when it was written."""
    return hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns


@contextmanager
def workspace(undisturbed: Run, folder: Path, on_tmpfs: bool) -> Iterator[Workspace]:
    space = Workspace(undisturbed, folder, on_tmpfs)
    try:
        yield space
    finally:
        space.close()


def _mount(options: str, target: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)], check=True, capture_output=True)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent(pid: int) -> int:
    fields = _bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # the process has ended
        return ""


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
