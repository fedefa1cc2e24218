"""Lets other people's networks work without what they print and warn of."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def quietly() -> Iterator[None]:
    """Swallows standard output and warnings: layers printed one by one, deprecated imports, 1000 frames instead of 998."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
