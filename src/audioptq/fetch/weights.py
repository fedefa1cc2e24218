"""The table of files that can be downloaded or that packages bring, `workflow/weights.tsv`: read and checked, nothing fetched."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from audioptq.errors import UserError

COLUMNS = ("name", "file", "url", "bytes", "sha256", "licence", "page")
CHECKSUMS_FILE = "checksums.tsv"
LOCAL_HOSTS = ("127.0.0.1", "localhost")
_HUB_URL = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)/(?P<path>[^@]+)@(?P<revision>[^@\s]+)")
_WEB_URL = re.compile(rf"(https://[^/\s]+|http://({'|'.join(map(re.escape, LOCAL_HOSTS))})(:\d+)?)/\S+")
_PACKAGE_URL = re.compile(r"package:(?P<package>[\w.-]+)==(?P<version>[\w.]+)/(?P<path>[^@\s]+)")
_DIGEST = re.compile(r"([0-9a-f]{8,64}|git:[0-9a-f]{40})?")


@dataclass(frozen=True)
class HubPlace:
    """A file on the Hugging Face hub: repository `owner/name`, path in it, and branch, tag or commit."""

    repo: str
    path: str
    revision: str


@dataclass(frozen=True)
class PackagePlace:
    """A file of an installed package: its name and version on the package index, and the path below site-packages."""

    package: str
    version: str
    path: str


@dataclass(frozen=True)
class WeightsEntry:
    """One row: `bytes` is None and `sha256` empty where nobody publishes them.

    `sha256` is a whole digest, its first 8 or more hex digits, or `git:` and the 40 digits of a git blob.
    """

    name: str
    file: str
    url: str
    bytes: int | None
    sha256: str
    licence: str
    page: str

    def path(self, folder: str | Path) -> Path:
        """Where the file lies below the download folder."""
        return Path(folder) / self.file

    @property
    def hub(self) -> HubPlace | None:
        """The place on the hub, or None for a file of the ordinary web."""
        found = _HUB_URL.fullmatch(self.url)
        return HubPlace(**found.groupdict()) if found else None

    @property
    def package(self) -> PackagePlace | None:
        """The package that brings the file, or None for one that is downloaded."""
        found = _PACKAGE_URL.fullmatch(self.url)
        return PackagePlace(**found.groupdict()) if found else None


def weights_entries(path: str | Path) -> dict[str, WeightsEntry]:
    """Reads the table; the keys are the names of its rows.

    Raises:
        UserError: If the file is missing, a column is unknown or absent, a name or file occurs twice, or a cell cannot be
            what its column says; above all a `file` that would lie outside the download folder.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The table of weights {path} cannot be read: {error}. Restore it from the repository."
        ) from error
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    if sorted(rows.fieldnames or ()) != sorted(COLUMNS):
        raise UserError(
            f"The table of weights {path} has the columns {', '.join(rows.fieldnames or ()) or 'none'}; it needs "
            f"{', '.join(COLUMNS)}, separated by tabs."
        )
    entries: dict[str, WeightsEntry] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path}, line {number}"
        entry = _entry(row, where)
        if entry.name in entries or entry.file in {other.file for other in entries.values()}:
            raise UserError(
                f"{where}: the name {entry.name} or the file {entry.file} occurs twice. Give each row its own."
            )
        entries[entry.name] = entry
    return entries


def _entry(row: dict[str, str], where: str) -> WeightsEntry:
    if None in row or None in row.values():
        raise UserError(f"{where}: the row does not have {len(COLUMNS)} cells separated by tabs. Mend it.")
    _check_cells(row, where)
    size = int(row["bytes"]) if row["bytes"] else None
    return WeightsEntry(**{**row, "bytes": size})  # type: ignore[arg-type]


def _check_cells(row: dict[str, str], where: str) -> None:
    file = PurePosixPath(row["file"])
    stays = not file.is_absolute() and ".." not in file.parts and "\\" not in row["file"] and str(file) == row["file"]
    faults = {
        "name": not re.fullmatch(r"\w+", row["name"]) and "must be letters, digits and underscores",
        "file": (not stays or row["file"] in (".", CHECKSUMS_FILE))
        and "must be a path that stays below the download folder",
        "url": not any(pattern.fullmatch(row["url"]) for pattern in (_HUB_URL, _WEB_URL, _PACKAGE_URL))
        and "must be https://..., hf://owner/repo/path@revision or package:name==version/path",
        "bytes": not re.fullmatch(r"\d*", row["bytes"]) and "must be a number of bytes, or empty",
        "sha256": not _DIGEST.fullmatch(row["sha256"])
        and "must be 8 to 64 lower-case hex digits, git: and 40 of them, or empty",
    }
    for column, fault in faults.items():
        if fault:
            raise UserError(f"{where}: {column} is {row[column]!r} and {fault}. Mend the row.")
