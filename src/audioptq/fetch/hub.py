"""A model of the hub in a folder of its own: configuration and weights of one commit, and a record of which."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audioptq.errors import UserError, damaged
from audioptq.fetch.digests import mismatch
from audioptq.fetch.disk import require_space
from audioptq.fetch.download import fetch_file
from audioptq.fetch.hub_files import RepoFile, list_files, remote_file, repo_page
from audioptq.fetch.offline import refuse_offline
from audioptq.files.artifacts import read_json, write_json

CONFIG = "model_config.json"
WEIGHTS = ("model.safetensors", "model.ckpt")  # the second only where there is no first
RECORD = "revision.json"


@dataclass(frozen=True)
class FetchedModel:
    """Where a fetched model lies, and the commit that it is."""

    config: Path
    weights: Path
    commit: str


def fetch_model(repo: str, revision: str, folder: str | Path, weights: str | None = None) -> FetchedModel:
    """Downloads a model's configuration and weights, or finds them in place.

    The revision is resolved once; the commit is recorded in the folder's `revision.json`, which stays. A folder whose files are
    those of its record is used without asking the hub.

    Args:
        repo: Repository, `owner/name`.
        revision: Branch, tag or commit.
        folder: Folder of this model alone.
        weights: Name of the weights file in the repository; None takes `model.safetensors`, else `model.ckpt`.

    Raises:
        UserError: If the folder holds another model, the revision has moved since, or the hub refuses.
        DamagedArtifactError: If a file is not the one of the record.
    """
    folder = Path(folder)
    record = read_record(folder, repo, revision, weights)
    if record is None or not all((folder / name).is_file() for name in record["files"]):
        record = _complete(repo, revision, folder, weights, record)
    for name, file in record["files"].items():
        why = mismatch(folder / name, [file["digest"]])
        if why:
            what = f"it is not the file of {repo} at {record['commit']}: {why}"
            raise damaged(folder / name, what, "Delete it and run again.")
    config, model = (folder / name for name in record["files"])
    return FetchedModel(config, model, record["commit"])


def read_record(folder: Path, repo: str, revision: str, weights: str | None) -> dict[str, Any] | None:
    """What a folder says it holds, or None for a new one.

    Raises:
        UserError: If it holds another model, or another revision of this one.
    """
    if not (folder / RECORD).exists():
        return None
    record: dict[str, Any] = read_json(folder / RECORD, foreign=True)  # downloads outlive versions
    keys = ["repo", "revision", "commit", "files"]
    well_formed = isinstance(record, dict) and list(record) == keys and isinstance(record["files"], dict)
    if not well_formed or len(record["files"]) != 2:
        raise damaged(folder / RECORD, "it is not the record of a fetched model", f"Remove {folder} and run again.")
    same = record["repo"] == repo and revision in (record["revision"], record["commit"])
    if not same or weights not in (None, *record["files"]):
        raise UserError(
            f"{folder} holds {', '.join(record['files'])} of {record['repo']} at {record['revision']} (commit "
            f"{record['commit']}), and {weights or 'the weights'} of {repo} at {revision} are asked for. Remove the folder, or "
            "give this model another name."
        )
    return record


def choose_files(files: Mapping[str, RepoFile], repo: str, weights: str | None) -> dict[str, RepoFile]:
    """Configuration and weights among the files of a repository, in this order.

    Raises:
        UserError: If one of the two is not there.
    """
    names = [weights] if weights else WEIGHTS
    found = next((name for name in names if name in files), None)
    if CONFIG in files and found:
        return {CONFIG: files[CONFIG], found: files[found]}
    lacks = " or ".join(names) if CONFIG in files else CONFIG
    raise UserError(
        f"The repository {repo} has no {lacks}, so it is not a model in the form of stable-audio-tools. It has "
        f"{', '.join(sorted(files)) or 'no files'}. See {repo_page(repo)}, and correct the config."
    )


def require_same_commit(record: Mapping[str, Any] | None, commit: str, folder: Path) -> None:
    """Refuses a revision that has moved since the first download.

    Raises:
        UserError: If the record names another commit.
    """
    if record is not None and record["commit"] != commit:
        raise UserError(
            f"{record['repo']} at {record['revision']} was commit {record['commit']} when its download to {folder} began, and "
            f"is now {commit}. Results of the two are not comparable: set `revision` to {record['commit']} to stay with the "
            f"first, or remove {folder} to begin anew with the second."
        )


def bytes_to_come(files: Mapping[str, RepoFile], folder: Path) -> int:
    """Bytes that are not yet in the folder, finished or as parts."""
    here = (folder / name if (folder / name).exists() else folder / f"{name}.part" for name in files)
    return sum(
        max(0, file.bytes - (p.stat().st_size if p.exists() else 0))
        for file, p in zip(files.values(), here, strict=True)
    )


def absent_files(folder: Path, weights: str | None, record: Mapping[str, Any] | None) -> list[Path]:
    """Files of a model that are not in its folder."""
    names = record["files"] if record else (CONFIG, weights or WEIGHTS[0])
    return [folder / name for name in names if not (folder / name).is_file()]


def _complete(
    repo: str, revision: str, folder: Path, weights: str | None, record: dict[str, Any] | None
) -> dict[str, Any]:
    """Downloads what is absent; the record is written before the first byte, so that a resumed download cannot mix commits."""
    refuse_offline({path: repo_page(repo) for path in absent_files(folder, weights, record)})
    commit, files = list_files(repo, revision)
    require_same_commit(record, commit, folder)
    chosen = choose_files(files, repo, weights)
    require_space(folder, bytes_to_come(chosen, folder), repo)
    stated = {name: asdict(file) for name, file in chosen.items()}
    record = {"repo": repo, "revision": revision, "commit": commit, "files": stated}
    write_json(folder / RECORD, record)
    for name, file in chosen.items():
        if not (folder / name).is_file():
            fetch_file(remote_file(repo, name, commit), folder / name, [file.digest])
    return record
