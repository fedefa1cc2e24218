"""Resumes a run as a user would: does what the messages say, and nothing else."""

import re
from pathlib import Path

from tests.chaos.workspace import Workspace

ATTEMPTS = 8
# What a message names to be deleted: the damaged file itself, or the table that lists a damaged clip.
DAMAGED = re.compile(r"Error: (\S+) cannot be read: .*?delete it and run snakemake again")
DAMAGED_CLIP = re.compile(
    r"Error: The clip (\S+) cannot be read: .*? Delete (\S+), which lists it, and run snakemake again"
)
OTHER = re.compile(r"Error: (\S+) (?:cannot be used|does not fit).*? Delete (?:it|the file) and")


def resume(space: Workspace) -> None:
    """Runs until all is done.

    Raises:
        AssertionError: If a run fails and its messages name no cure, or the cure is none.
    """
    for _ in range(ATTEMPTS):
        status, output = space.finish()
        if status == 0:
            return
        cured = cure(space, output)
        assert cured, f"no cure was named\n{output[-6000:]}"
    raise AssertionError(f"the cures that were named do not help\n{output[-6000:]}")


def unlock(space: Workspace) -> None:
    """Takes away the lock of a killed driver, as Snakemake says to one who starts another."""
    if space.locks():
        assert cure(space, space.finish()[1]), "a killed driver's lock is not explained"


def cure(space: Workspace, output: str) -> bool:
    """Does what the messages of a failed run say; whether they said anything."""
    if "--unlock" in output:
        assert all(driver.poll() is not None for driver in space.drivers), (
            "a lock is called stale while a driver is at work"
        )
        status, text = space.finish("--unlock")
        assert status == 0, text
        return True
    if "The disk is full: " in output:
        space.resize(None)
        return True
    named = {match[1] for match in DAMAGED.finditer(output)} | {match[1] for match in OTHER.finditer(output)}
    clips = {(match[1], match[2]) for match in DAMAGED_CLIP.finditer(output)}
    for path in named | {listed_in for _, listed_in in clips}:
        (space.folder / path).unlink(missing_ok=True)
    blamed = {space.folder / Path(path) for path in named | {clip for clip, _ in clips}}
    for path in blamed & space.damaged.keys():
        del space.damaged[path]
    return bool(blamed)
