"""When the network may be used: the one place that lifts the hub's offline mode, and only for as long as it is needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audioptq.errors import UserError

VARIABLE = "AUDIOPTQ_OFFLINE"


def is_offline() -> bool:
    """Whether the user forbids downloads: `AUDIOPTQ_OFFLINE` is set and is not 0."""
    return os.environ.get(VARIABLE, "0") not in ("", "0")


def refuse_offline(files: dict[Path, str]) -> None:
    """Refuses to download anything where the user forbids it; `files` maps absent files to the pages that have them.

    Raises:
        UserError: If downloads are forbidden and `files` is not empty.
    """
    if not files or not is_offline():
        return
    listing = "; ".join(f"{path} (from {page})" for path, page in files.items())
    raise UserError(
        f"{VARIABLE} is set, so nothing is downloaded, and these files are absent: {listing}. Copy each to that path from a "
        f"machine that has it, or unset {VARIABLE} and run again."
    )


@contextmanager
def hub_online() -> Iterator[None]:
    """Lifts `HF_HUB_OFFLINE` for huggingface_hub in this process while the block lasts.

    The workflow runs with `HF_HUB_OFFLINE=1`, so that no library looks things up by itself. huggingface_hub reads the variable
    once, on import, into a constant that it looks at before every request; that constant is changed and set back. The
    environment stays as it is, and with it every process that is started meanwhile.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
