"""What the user sees while work goes on, and how a mistake reaches them."""

import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from audioptq.errors import UserError

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 60.0


def progress(
    iterable: Iterable[Item], description: str, total: int | None = None, unit: str = "it", initial: int = 0
) -> Generator[Item, None, None]:
    """Yields from `iterable` behind a progress bar: a live one on a terminal, else a line a minute and one at the end."""
    if sys.stderr.isatty():
        yield from tqdm(iterable, desc=description, total=total, unit=unit, initial=initial, dynamic_ncols=True)
        return
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    started = printed = time.monotonic()
    done = initial
    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if now - printed >= SECONDS_BETWEEN_LINES or done == total:
            printed = now
            rate = (done - initial) / max(now - started, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if total and done < total else ""
            print(
                f"{description}: {done}/{total or '?'} {unit}, {rate:.2f} {unit}/s{left}", file=sys.stderr, flush=True
            )


@contextmanager
def job_log(path: str | Path) -> Iterator[Callable[[str], None]]:
    """Keeps a job's log file and ends the process with one paragraph, not a traceback, on a user's mistake.

    Yields a function that writes a line to the log. A bug keeps its traceback, in the log and on standard error.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as handle:

        def line(text: str) -> None:
            handle.write(f"{time.strftime('%H:%M:%S')} {text}\n")
            handle.flush()

        try:
            yield line
        except UserError as error:
            line(str(error))
            print(f"\nError: {error}\n", file=sys.stderr, flush=True)
            sys.exit(1)
        except Exception:
            line(traceback.format_exc())
            raise
