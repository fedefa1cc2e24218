"""A download over HTTP that goes on where it stopped, within a run and from run to run.

huggingface_hub's own downloads begin anew in each process, and compare sizes alone; so files of the hub come this way too.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from audioptq.console import progress
from audioptq.errors import UserError
from audioptq.fetch.disk import require_space, unwritable
from audioptq.fetch.weights import LOCAL_HOSTS

RETRIES = 6  # in a row without a single new byte
LONGEST_BACKOFF_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 600.0  # for a server that names a time
TIMEOUT_SECONDS = (10.0, 60.0)  # to connect, and between two pieces
PIECE_BYTES = 1 << 16  # what an interruption can lose
MEBIBYTE = 1 << 20
BUSY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Remote:
    """A file to download: its address, the page for people, and what is known of it beforehand.

    `version` names its contents if that is known without asking (the hub's digest); else the ETag that comes with it does.
    """

    url: str
    page: str
    headers: Mapping[str, str] = field(default_factory=dict)
    bytes: int | None = None
    version: str = ""


class _Interrupted(Exception):
    """The attempt ended early and another may help; `seconds` is the wait that the server asks for, if any."""

    def __init__(self, why: str, seconds: float | None = None) -> None:
        super().__init__(why)
        self.seconds = seconds


def download_part(remote: Remote, part: Path) -> None:
    """Downloads to `part`, which is kept on failure; beside it `{part}.version` says of which contents it is a part.

    Raises:
        UserError: If the server refuses, stays away after all retries, or the disk is full; the text names file and page.
    """
    failures = 0
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"Another process is downloading {part} now. Wait until it is done.") from error
            while True:
                before = handle.seek(0, os.SEEK_END)
                try:
                    return _attempt(remote, handle, part)
                except (_Interrupted, requests.RequestException) as error:
                    failures = 0 if handle.seek(0, os.SEEK_END) > before else failures + 1
                    _wait(remote, part, error, failures)
    except OSError as error:
        raise unwritable(part, error) from error


def _wait(remote: Remote, part: Path, error: Exception, failures: int) -> None:
    seconds = getattr(error, "seconds", None)
    asked_too_much = seconds is not None and seconds > LONGEST_WAIT_SECONDS
    if failures > RETRIES or asked_too_much:
        reason = f"it asks to come back in {seconds:.0f} s" if asked_too_much else f"{RETRIES} retries did not help"
        raise UserError(
            f"The download of {remote.url} stopped: {_short(error)}; {reason}. What has come is kept in {part}: run again later "
            f"and it goes on from there, or take the file from {remote.page}."
        )
    time.sleep(min(2.0**failures, LONGEST_BACKOFF_SECONDS) if seconds is None else seconds)


def _attempt(remote: Remote, handle: IO[bytes], part: Path) -> None:
    """One request; returns when the file is complete."""
    version_file = part.with_name(f"{part.name}.version")
    version = version_file.read_text(encoding="utf-8") if version_file.exists() else ""
    if not version or (remote.version and version != remote.version):
        handle.truncate(0)
    offset = handle.seek(0, os.SEEK_END)
    if offset and offset == remote.bytes:
        return
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version.startswith('"') and not remote.version:
            headers["If-Range"] = version
    # An `auth` of its own keeps requests from putting a line of ~/.netrc in place of the token.
    with requests.get(
        remote.url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS, auth=lambda request: request
    ) as response:
        _refuse_insecure(response.url)
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == 416 and content_range.endswith(f"*/{offset}"):
            return
        _check_status(response, remote)
        now = remote.version or response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if not (response.status_code == 206 and content_range.startswith(f"bytes {offset}-") and now == version):
            handle.truncate(0)  # a part of other contents
            offset = 0
            if response.status_code != 200:
                raise _Interrupted("the file has changed since the download began, so it begins anew", 0.0)
        version_file.write_text(now, encoding="utf-8")
        total = _receive(response, remote, handle, part, offset)
    received = handle.seek(0, os.SEEK_END)
    if total is not None and received != total:
        raise _Interrupted(f"the connection closed after {received} of {total} bytes")


def _receive(response: requests.Response, remote: Remote, handle: IO[bytes], part: Path, offset: int) -> int | None:
    """Writes the body as it comes; returns the bytes of the whole file, if the server says."""
    length, name = response.headers.get("Content-Length", ""), part.name.removesuffix(".part")
    total = offset + int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None
    if total is not None and remote.bytes not in (None, total):
        part.unlink()
        raise UserError(
            f"{remote.url} is {total} bytes and should be {remote.bytes}: it is another file than the one that is known. "
            f"See {remote.page}; if it was replaced on purpose, correct the row in workflow/weights.tsv."
        )
    if total is not None:
        require_space(part.parent, total - offset, name)
    n_mebibytes = None if total is None else -(-total // MEBIBYTE)
    steps = _write_pieces(response, handle)
    for _ in progress(steps, f"download {name}", n_mebibytes, "MiB", initial=offset // MEBIBYTE):
        pass
    handle.flush()
    return total


def _write_pieces(response: requests.Response, handle: IO[bytes]) -> Iterator[None]:
    """Writes the body piece by piece, and comes back after every mebibyte and at the end."""
    since = 0
    for piece in response.iter_content(PIECE_BYTES):
        handle.write(piece)
        since += len(piece)
        if since >= MEBIBYTE:
            since -= MEBIBYTE
            yield
    if since:
        yield


def _check_status(response: requests.Response, remote: Remote) -> None:
    status = response.status_code
    if status in BUSY:
        try:
            seconds = Retry(retry_after_max=10**9).parse_retry_after(response.headers.get("Retry-After", ""))
        except InvalidHeader:
            seconds = None
        raise _Interrupted(f"the server answered {status}", seconds)
    if status >= 400 and status != 416:
        raise UserError(
            f"{remote.url} cannot be downloaded: the server answered {status} ({response.reason}). See {remote.page} for "
            "whether the file has moved or needs a login; a copy from there can be put in the download folder by hand."
        )


def _refuse_insecure(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOCAL_HOSTS:
        raise UserError(f"{url} is not an https address; nothing is downloaded over an open connection.")


def _short(error: Exception) -> str:
    """The innermost reason of a chain of network errors, without the objects' addresses."""
    if isinstance(error, _Interrupted):
        return str(error)
    inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    return _short(inner) if isinstance(inner, Exception) else f"{type(error).__name__}: {error}"
