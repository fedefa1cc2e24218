"""A model of the hub in a folder of its own: configuration and weights of one commit, and a record of which."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioptq.errors import UserError, damaged
from audioptq.fetch.digests import mismatch
from audioptq.fetch.disk import require_space
from audioptq.fetch.download import fetch_file, to_come
from audioptq.fetch.hub_files import list_files, remote_file, repo_page
from audioptq.fetch.offline import refuse_offline
from audioptq.files.artifacts import read_json, write_json

CONFIG = "model_config.json"
WEIGHTS = ("model.safetensors", "model.ckpt")  # the second only where there is no first
RECORD = "revision.json"
# Of a folder: `repo`, `revision`, `commit`, and `files`, name -> `bytes` and `digest`, configuration first.
Record = dict[str, Any]


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
    record = _recorded(folder, repo, revision, weights)
    if record is None or _absent(folder, record["files"]):
        record = _resolve(repo, revision, folder, weights, record)
        write_json(folder / RECORD, record)  # before the first byte, so that a resumed download cannot mix commits
        for path in _absent(folder, record["files"]):
            fetch_file(remote_file(repo, path.name, record["commit"]), path, [record["files"][path.name]["digest"]])
    for name, file in record["files"].items():
        why = mismatch(folder / name, [file["digest"]])
        if why:
            what = f"it is not the file of {repo} at {record['commit']}: {why}"
            raise damaged(folder / name, what, "Delete it and run again.")
    config, model = (folder / name for name in record["files"])
    return FetchedModel(config, model, record["commit"])


def check_access(repo: str, revision: str, folder: str | Path, weights: str | None = None) -> None:
    """Checks that `fetch_model` with the same arguments will be let in and has room; asks nothing if all is there.

    Raises:
        UserError: Login, licence, token, repository, revision, connection or disk; the text has the page and the command.
    """
    folder = Path(folder)
    record = _recorded(folder, repo, revision, weights)
    if record is None or _absent(folder, record["files"]):
        commit = _resolve(repo, revision, folder, weights, record)["commit"]
        remote_file(repo, CONFIG, commit, retry=False)  # the listing of a gated repository is public, its files are not


def _recorded(folder: Path, repo: str, revision: str, weights: str | None) -> Record | None:
    """What a folder says it holds, or None for a new one; another model, or another revision of this one, is refused."""
    if not (folder / RECORD).exists():
        return None
    record: Record = read_json(folder / RECORD, foreign=True)  # downloads outlive versions
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


def _absent(folder: Path, names: Any) -> list[Path]:
    return [folder / name for name in names if not (folder / name).is_file()]


def _resolve(repo: str, revision: str, folder: Path, weights: str | None, record: Record | None) -> Record:
    """The record of what the revision is now, which has to be what it was; there is room for what is absent."""
    wanted = record["files"] if record else (CONFIG, weights or WEIGHTS[0])
    refuse_offline({path: repo_page(repo) for path in _absent(folder, wanted)})
    commit, files = list_files(repo, revision)
    if record is not None and record["commit"] != commit:
        raise UserError(
            f"{repo} at {record['revision']} was commit {record['commit']} when its download to {folder} began, and is now "
            f"{commit}. Results of the two are not comparable: set `revision` to {record['commit']} to stay with the first, or "
            f"remove {folder} to begin anew with the second."
        )
    names = [weights] if weights else WEIGHTS
    found = next((name for name in names if name in files), None)
    if CONFIG not in files or found is None:
        lacks = " or ".join(names) if CONFIG in files else CONFIG
        raise UserError(
            f"The repository {repo} has no {lacks}, so it is not a model in the form of stable-audio-tools. It has "
            f"{', '.join(sorted(files)) or 'no files'}. See {repo_page(repo)}, and correct the config."
        )
    chosen = {name: files[name] for name in (CONFIG, found)}
    require_space(folder, sum(to_come(folder / name, file["bytes"]) for name, file in chosen.items()), repo)
    return {"repo": repo, "revision": revision, "commit": commit, "files": chosen}
