"""The cluster of this machine, for every test of this folder."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import PACKAGES, Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of two nodes, each with two processors and a GPU in name."""
    commands = ["munged", "slurmctld", "slurmd", "sbatch", "setpriv"]
    absent = [name for name in commands if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if absent:
        pytest.skip(f"Slurm is not installed ({', '.join(absent)}): apt-get install {' '.join(PACKAGES)}")
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
