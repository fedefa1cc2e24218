"""Downloads one file of the table, or finds it in place, and knows that it is whole."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.fetch.digests import is_whole_digest, mismatch, record_digest, recorded_digest
from audioptq.fetch.disk import unwritable
from audioptq.fetch.hub_files import remote_file
from audioptq.fetch.installed import copy_installed
from audioptq.fetch.offline import refuse_offline
from audioptq.fetch.resume import Remote, download_part
from audioptq.fetch.weights import WeightsEntry
from audioptq.files.artifacts import file_digest


def download(entry: WeightsEntry, folder: str | Path) -> Path:
    """Makes sure that a file of the table lies in the folder and is what it should be; downloads it if it is absent.

    A file that a package brings is copied, network or not.

    Where the table has no whole digest, the file's SHA-256 is recorded in the folder's `checksums.tsv` when it is first seen
    and verified from then on.

    Returns:
        Its path.

    Raises:
        UserError: If it cannot be had; the text names the file, the page, and how to mend it.
        DamagedArtifactError: If a file that lies there is not the right one.
    """
    path = entry.path(folder)
    if path.is_file():
        verify(entry, folder)
        return path
    if entry.package:
        copy_installed(entry, path)
        return path
    refuse_offline({path: entry.page})
    remote = Remote(entry.url, entry.page, bytes=entry.bytes)
    if entry.hub:
        remote = replace(remote_file(entry.hub.repo, entry.hub.path, entry.hub.revision), page=entry.page)
        _require_known(entry, remote)
    fetch_file(remote, path, [entry.sha256, remote.version, recorded_digest(folder, entry.file)])
    _remember(entry, folder)
    return path


def verify(entry: WeightsEntry, folder: str | Path) -> None:
    """Compares a file that lies in the folder with the table and with what was recorded at its first use.

    Raises:
        DamagedArtifactError: If it differs; it is left in place, since a user may have put it there.
    """
    path = entry.path(folder)
    size = path.stat().st_size
    why = mismatch(path, [entry.sha256, recorded_digest(folder, entry.file)])
    if entry.bytes not in (None, size):
        why = f"it has {size} bytes, and {entry.bytes} are expected"
    if why:
        raise DamagedArtifactError(
            f"{path} is damaged or another file than {entry.name}: {why}. Delete it and run again to download it, or replace "
            f"it with the file of {entry.page}."
        )
    _remember(entry, folder)


def fetch_file(remote: Remote, path: Path, digests: Sequence[str]) -> None:
    """Downloads to a part beside `path`, which gets its name only when its size and all `digests` fit.

    Raises:
        UserError: If the download fails, or ends with other contents; these are removed.
    """
    part = path.with_name(f"{path.name}.part")
    download_part(remote, part)
    why = mismatch(part, digests)
    part.with_name(f"{part.name}.version").unlink(missing_ok=True)
    if why:
        part.unlink()
        raise UserError(
            f"{remote.url} was downloaded and removed, because it is not the file that was expected: {why}. Run again if the "
            f"connection may have damaged it; if that does not help, the file was replaced: see {remote.page}."
        )
    try:
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def to_come(path: Path, n_bytes: int) -> int:
    """Bytes of a file of `n_bytes` that are not there yet, finished or as a part."""
    here = path if path.exists() else path.with_name(f"{path.name}.part")
    return max(0, n_bytes - (here.stat().st_size if here.exists() else 0))


def _remember(entry: WeightsEntry, folder: str | Path) -> None:
    if not is_whole_digest(entry.sha256) and not recorded_digest(folder, entry.file):
        record_digest(folder, entry.file, file_digest(entry.path(folder)))


def _require_known(entry: WeightsEntry, remote: Remote) -> None:
    """Finds a replaced file before gigabytes of it come."""
    both_whole = len(entry.sha256) == len(remote.version) == 64
    if (both_whole and entry.sha256 != remote.version) or (entry.bytes is not None and entry.bytes != remote.bytes):
        raise UserError(
            f"{entry.url} is now another file than the one that workflow/weights.tsv knows: the hub has {remote.bytes} bytes "
            f"with checksum {remote.version}, and {entry.bytes} bytes with {entry.sha256} are expected. See {entry.page}; "
            "put the old file in the download folder by hand, or correct the row if the new one is right."
        )
