"""Freed memory really goes back to the system."""

import platform
import subprocess
import sys

import pytest

GIVEN_BACK = """
import pathlib
from audioptq.memory import give_back


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
