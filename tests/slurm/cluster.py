"""A Slurm cluster on this machine, of Debian's packages, in a folder of its own: nothing of /etc is read or written."""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from string import Template

CGROUPS = Path("/sys/fs/cgroup")
NODES = ["audioptq1", "audioptq2"]
PACKAGES = ["munge", "slurmctld", "slurmd", "slurm-client"]
# GPUs in name only: Slurm counts device files that exist.
GRES_CONF = "AutoDetect=off\n" + "".join(
    f"NodeName={node} Name=gpu Type=toy File={device}\n"
    for node, device in zip(NODES, ["/dev/null", "/dev/zero"], strict=True)
)
CGROUP_CONF = f"CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nCgroupMountpoint={CGROUPS}\n"


class Cluster:
    """munged, slurmctld and a slurmd per node, as children of this process that end with it."""

    def __init__(self) -> None:
        # munged wants a short path that others may enter; pytest's own folders are neither.
        self.folder = Path(tempfile.mkdtemp(prefix="audioptq-slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self.environment["PATH"] = f"{self.folder}/bin:{os.environ['PATH']}:/usr/sbin"

    def start(self) -> None:
        self._write_configuration()
        folder = self.folder
        munge_files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._daemon("munged", "--foreground", *munge_files, f"--socket={folder}/munge.socket")
        wait_until((folder / "munge.socket").exists, 30, "munged has no socket")
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node)
        wait_until(lambda: self.ask("sinfo", "--noheader", "--states=idle", "--format=%D") == "2", 60, "no idle nodes")

    def stop(self) -> None:
        """Ends jobs, daemons and whatever a job left behind, each by its process number."""
        subprocess.run(
            ["scancel", f"--user={getpass.getuser()}"], env=self.environment, check=False, capture_output=True
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.ask("squeue", "--noheader"):
            time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for node in NODES:
            for path in sorted((CGROUPS / "freezer").glob(f"slurm_{node}/**/"), reverse=True):
                with suppress(OSError):  # the kernel has not let go of it; it is empty and in nobody's way
                    path.rmdir()
        shutil.rmtree(self.folder)

    def ask(self, *command: str) -> str:
        """What a Slurm command prints; nothing if it fails."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout.strip()

    def jobs(self, fields: str) -> list[list[str]]:
        """Fields of squeue's format for every job, running or ended."""
        lines = self.ask("squeue", "--noheader", "--states=all", f"--format={fields}").splitlines()
        return [line.split("|") for line in lines]

    def processes(self, *marks: str) -> list[int]:
        """Processes of this machine that belong to the cluster, and have the environment variables `marks`."""
        wanted = {mark.encode() for mark in (f"SLURM_CONF={self.folder}/slurm.conf", *marks)}
        paths = Path("/proc").glob("[0-9]*/environ")
        return [int(path.parent.name) for path in paths if wanted <= set(_bytes(path).split(b"\0"))]

    def _write_configuration(self) -> None:
        in_cgroups = os.geteuid() == 0 and (CGROUPS / "freezer").is_dir()
        names = ("controller_port", "first_port", "second_port")
        values = dict(zip(names, free_ports(len(names)), strict=True)) | {
            "folder": self.folder, "host": socket.gethostname().partition(".")[0], "user": getpass.getuser(),
            "proctrack": "proctrack/cgroup" if in_cgroups else "proctrack/linuxproc",
        }  # fmt: skip
        template = Template((Path(__file__).parent / "slurm.conf").read_text(encoding="utf-8"))
        (self.folder / "slurm.conf").write_text(template.substitute(values), encoding="utf-8")
        (self.folder / "gres.conf").write_text(GRES_CONF, encoding="utf-8")
        if in_cgroups:
            (self.folder / "cgroup.conf").write_text(CGROUP_CONF, encoding="utf-8")
        for name in ("bin", "state", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        # A job starts srun without SLURM_CONF: elsewhere the configuration is where Slurm looks by itself.
        srun = self.folder / "bin/srun"
        srun.write_text(
            f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n', encoding="utf-8"
        )
        srun.chmod(0o755)

    def _daemon(self, *command: str) -> None:
        with (self.folder / f"{command[0]}-{len(self.daemons)}.log").open("wb") as log:
            die_with_me = ["setpriv", "--pdeathsig", "TERM"]
            self.daemons.append(
                subprocess.Popen([*die_with_me, *command], env=self.environment, stdout=log, stderr=log)
            )


def wait_until(condition: Callable[[], object], seconds: float, otherwise: str) -> None:
    """Returns when `condition` holds; fails with `otherwise` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended, or is another user's
        return b""
