"""What the Hugging Face hub knows of a repository and its files, through its own client, with errors that a user can mend."""

import os
import re
from typing import Any

from audioptq.errors import UserError
from audioptq.fetch.digests import GIT
from audioptq.fetch.offline import hub_online
from audioptq.fetch.resume import Remote

TIMEOUT_SECONDS = 10.0
LOGIN = "`hf auth login`"


def repo_page(repo: str) -> str:
    """The page of a repository, for people."""
    return f"https://huggingface.co/{repo}"


def list_files(repo: str, revision: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Resolves a revision: its commit, and the `bytes` and `digest` of every file. Asks once and waits 10 s at most.

    A digest is SHA-256, or `git:` and the blob's id for small files, as the hub states them.

    Raises:
        UserError: If the hub cannot be reached, or does not show this repository and revision to this user.
    """
    from huggingface_hub import HfApi

    with hub_online():
        try:
            info = HfApi(endpoint=_endpoint(), token=_token() or False).model_info(
                repo, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS
            )
        except Exception as error:
            raise _explained(error, repo, revision) from error
    files = {}
    for file in info.siblings or []:
        digest = file.lfs.sha256 if file.lfs else f"{GIT}{file.blob_id}"
        files[file.rfilename] = {"bytes": int(file.lfs.size if file.lfs else file.size or 0), "digest": digest}
    return str(info.sha), files


def remote_file(repo: str, path: str, revision: str, retry: bool = True) -> Remote:
    """One file of a repository, pinned to the commit that `revision` is now; `version` is the hub's digest of it.

    Raises:
        UserError: If the hub cannot be reached, or refuses this user the file.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    token = _token()
    with hub_online():
        try:
            url = hf_hub_url(repo, path, revision=revision, endpoint=_endpoint())
            found = get_hf_file_metadata(
                url, token=token or False, timeout=TIMEOUT_SECONDS, endpoint=_endpoint(), retry_on_errors=retry
            )
            pinned = hf_hub_url(repo, path, revision=found.commit_hash or revision, endpoint=_endpoint())
        except Exception as error:
            raise _explained(error, repo, revision, path) from error
    # The hub's ETag is the SHA-256 of a large file and the git id of a small one.
    etag = found.etag or ""
    version = (
        etag if re.fullmatch("[0-9a-f]{64}", etag) else f"{GIT}{etag}" if re.fullmatch("[0-9a-f]{40}", etag) else ""
    )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Remote(pinned, repo_page(repo), headers, found.size, version)


def _endpoint() -> str:
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _token() -> str | None:
    from huggingface_hub import get_token

    with hub_online():  # a login by browser may have to renew its token
        return get_token()


def _explained(error: Exception, repo: str, revision: str, path: str = "") -> Exception:
    """The sentence for what the hub answered; an error that is not of the hub or the network is returned as it is."""
    from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, HFValidationError, HTTPError

    if isinstance(error, HFValidationError):
        return UserError(f"{repo!r} is not the name of a repository on the hub: {error} Write it as owner/name.")
    if isinstance(error, HfHubHTTPError):
        return UserError(_refusal(error, repo, revision, path))
    if isinstance(error, (HTTPError, FileMetadataError, OSError, ValueError)):
        return UserError(
            f"The hub at {_endpoint()} cannot be reached, so {repo} cannot be fetched: {type(error).__name__}: {error}. Check "
            "the connection and the proxy variables and run again; or copy the files from a machine that has them."
        )
    return error


def _refusal(error: Exception, repo: str, revision: str, path: str) -> str:
    response = error.response  # type: ignore[attr-defined]
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    words = response.headers.get("X-Error-Message") or ""
    said = f" The hub says: {words.rstrip('.')}." if words else ""
    page = repo_page(repo)
    if code in ("RevisionNotFound", "EntryNotFound"):
        lacks = f"the file {path}" if code == "EntryNotFound" else f"the revision {revision}"
        return f"The repository {repo} does not have {lacks}. See {page} for what it has, and correct the config."
    if status in (401, 403):
        return _no_access(repo, page, status, code == "GatedRepo") + said
    if status == 404:
        return f"There is no repository {repo}, or it is private and the token may not see it. Check its name on {page}.{said}"
    return f"The hub answered {status} for {repo} ({page}). Run again later; what has come is kept.{said}"


def _no_access(repo: str, page: str, status: int, gated: bool) -> str:
    variable = "HF_TOKEN" if os.environ.get("HF_TOKEN") else ""
    if not _token():
        what = "needs a login and an accepted licence" if gated else "does not exist, is private, or needs a login"
        return f"{repo} {what}, and there is no token here. Accept the licence on {page}, run {LOGIN}, and run again."
    if status == 401:
        where = f"in the variable {variable}" if variable else "of the last login"
        mend = (
            f"Set {variable} to a valid token (it goes before any login)" if variable else f"Run {LOGIN} with a new one"
        )
        return f"The hub does not accept the token {where} for {repo}: it has expired or is wrong. {mend}. See {page}."
    return (
        f"This account may not download {repo}: its licence is not accepted, or the token was not given the right to read "
        f"gated repositories. Accept the licence on {page} with the account of the token, or run {LOGIN} with another, and run "
        "again."
    )
