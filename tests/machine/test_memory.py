"""Freed memory really goes back to the system."""

import platform
import subprocess
import sys

import pytest

GIVEN_BACK = """
import pathlib
from audioptq.machine.memory import give_back


def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096


pieces = [bytearray(50_000) for _ in range(2000)]
last = bytearray(50_000)  # keeps the heap from shrinking by itself
del pieces
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_what_was_freed_is_given_back():
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50e6  # of 100 MB


KEPT = """
import resource
from audioptq.machine.memory import freed_is_kept


def faults_of_a_block():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(50_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


pages = [faults_of_a_block()]
with freed_is_kept():
    faults_of_a_block()
    pages.append(faults_of_a_block())
pages.append(faults_of_a_block())
print(*pages)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_what_was_freed_is_handed_out_again_while_that_is_asked_for():
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    before, within, after = map(int, done.stdout.split())
    assert within < 100 < min(before, after)  # of 12,000 pages of 4 KiB, or as many fewer as they are larger
