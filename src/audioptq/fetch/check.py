"""Asks in a run's first seconds what would otherwise fail after hours: hosts, and room on the disk."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import requests

from audioptq.errors import UserError
from audioptq.fetch.disk import require_space
from audioptq.fetch.download import to_come
from audioptq.fetch.hub_files import TIMEOUT_SECONDS, remote_file
from audioptq.fetch.installed import installed_file
from audioptq.fetch.offline import refuse_offline
from audioptq.fetch.weights import WeightsEntry


def check_files(entries: Iterable[WeightsEntry], folder: str | Path) -> None:
    """Checks the rows of the table whose files are absent: every host answers, and there is room for all of them.

    Files of unknown size are asked for it, one file per host (on the hub: per owner) in any case. A web server that is merely
    busy is let pass: the download waits for it. A file that a package brings only needs the package.

    Raises:
        UserError: If a host is out of reach, a file is not where the table says, a package is not installed, or the disk is too
            small.
    """
    absent = [entry for entry in entries if not entry.path(folder).is_file()]
    for entry in absent:
        if entry.package:
            installed_file(entry)
    absent = [entry for entry in absent if not entry.package]
    refuse_offline({entry.path(folder): entry.page for entry in absent})
    hosts: set[str] = set()
    n_bytes = 0
    for entry in absent:
        size, host = entry.bytes, urlsplit(entry.url).netloc
        if size is None or host not in hosts:
            asked = _ask(entry)
            size = asked if size is None else size
        hosts.add(host)
        n_bytes += to_come(entry.path(folder), size or 0)
    require_space(folder, n_bytes, ", ".join(entry.name for entry in absent))


def _ask(entry: WeightsEntry) -> int | None:
    """Size of a file on its host, if that says."""
    if entry.hub:
        return remote_file(entry.hub.repo, entry.hub.path, entry.hub.revision, retry=False).bytes
    try:
        response = requests.head(
            entry.url, timeout=TIMEOUT_SECONDS, allow_redirects=True, headers={"Accept-Encoding": "identity"}
        )
    except requests.RequestException as error:
        raise UserError(
            f"{entry.url} cannot be reached ({type(error).__name__}), and {entry.name} is absent. Check the connection and the "
            f"proxy variables and run again; or take the file from {entry.page} and put it at {entry.file} in the download folder."
        ) from error
    if response.status_code in (401, 403, 404, 410):
        raise UserError(
            f"{entry.url} is not there any more: the server answered {response.status_code}. Take {entry.name} from "
            f"{entry.page}, put it at {entry.file} in the download folder, or correct its row in workflow/weights.tsv."
        )
    size = response.headers.get("Content-Length", "")
    return int(size) if response.ok and size.isdigit() else None
