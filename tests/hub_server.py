"""A local stand-in for the Hugging Face hub and for any web server, with faults on demand; no test needs the network.

The installed huggingface_hub talks to it as to the real hub, also from other processes::

    with HubServer() as server:
        commit = server.publish("acme/model", {"model_config.json": b"{}", "model.safetensors": path}, gated=True)
        server.grant("hf_good", "acme/model")          # a token whose account accepted the licence
        server.faults["model.safetensors"] = [Fault(drop_after=1000)]
        subprocess.run([...], env={**os.environ, "HF_ENDPOINT": server.url, "HF_TOKEN": "hf_good"})
        assert server.requests[-1].headers["Range"] == "bytes=1000-"

It answers `/api/models/{repo}[/revision/{revision}]`, `/api/models/{repo}/tree/{revision}`, HEAD and GET of
`/{repo}/resolve/{revision}/{file}` (with X-Repo-Commit, ETag, X-Linked-Etag, X-Linked-Size, ranges) and of whatever was given
to `serve`. Like the hub, it redirects large files to another host (`localhost` in place of `127.0.0.1`), and lists gated
repositories to everybody. It never announces Xet storage.
"""

import hashlib
import json
import re
import sys
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

LARGE_ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".h5", ".npz")
CHUNK_BYTES = 1 << 16


@dataclass
class Fault:
    """What goes wrong with the next `times` requests (-1: all) of a path.

    Attributes:
        status: Answer with this status and `headers` instead; 401 and 403 with `{"X-Error-Code": "GatedRepo"}` are refusals.
        drop_after: Close the connection after this many bytes of the body.
        flip_byte: Send the byte at this position of the file changed.
        seconds: Wait so long before the answer.
        method: GET, HEAD, or * for both.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    flip_byte: int | None = None
    seconds: float = 0.0
    method: str = "GET"
    times: int = 1


@dataclass(frozen=True)
class Request:
    """A request as it came; `status` is what it was answered."""

    method: str
    path: str
    headers: dict[str, str]
    status: int


@dataclass(frozen=True)
class Content:
    """A file that is served: bytes, or a path that is read piece by piece."""

    source: bytes | Path

    @property
    def size(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def read(self, start: int, stop: int) -> bytes:
        if isinstance(self.source, bytes):
            return self.source[start:stop]
        with self.source.open("rb") as handle:
            handle.seek(start)
            return handle.read(stop - start)

    def digest(self, name: str, prefix: bytes = b"") -> str:
        found = hashlib.new(name, prefix)
        for start in range(0, self.size, CHUNK_BYTES):
            found.update(self.read(start, start + CHUNK_BYTES))
        return found.hexdigest()


@dataclass
class StoredFile:
    """A file of a repository with the digests that the hub states."""

    content: Content
    is_large: bool

    def __post_init__(self) -> None:
        self.blob_id = self.content.digest("sha1", f"blob {self.content.size}\0".encode())
        self.sha256 = self.content.digest("sha256")

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_large else self.blob_id


@dataclass
class Repository:
    """Commits of a repository and where its branches and tags point."""

    gated: bool = False
    commits: dict[str, dict[str, StoredFile]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)


class HubServer:
    """The server; a context manager.

    Attributes:
        url: `http://127.0.0.1:{port}`, for HF_ENDPOINT.
        faults: Path endings and what goes wrong with them, in order.
        requests: Everything that was asked so far.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, set[str]] = {}
        self.plain: dict[str, Content] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.requests: list[Request] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _QuietServer(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def publish(self, repo: str, files: dict[str, bytes | Path], gated: bool = False, revision: str = "main") -> str:
        """Commits `files` as all that the repository has, moves `revision` there, and returns the commit (40 hex digits)."""
        repository = self.repositories.setdefault(repo, Repository())
        repository.gated = gated
        stored = {name: StoredFile(Content(source), name.endswith(LARGE_ENDINGS)) for name, source in files.items()}
        listing = json.dumps([repo, len(repository.commits), {name: file.sha256 for name, file in stored.items()}])
        commit = hashlib.sha1(listing.encode()).hexdigest()
        repository.commits[commit] = stored
        repository.revisions[revision] = commit
        return commit

    def serve(self, path: str, source: bytes | Path) -> str:
        """Serves a plain file at `/{path}` and returns its address."""
        self.plain[f"/{path}"] = Content(source)
        return f"{self.url}/{path}"

    def grant(self, token: str, *repos: str) -> None:
        """Makes a token valid, and accepts the licences of gated repositories for it."""
        self.tokens.setdefault(token, set()).update(repos)

    def asked(self, ending: str, method: str = "GET") -> list[Request]:
        """Requests of one method whose path ends so, in order."""
        return [request for request in self.requests if request.method == method and request.path.endswith(ending)]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error here."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    do_GET = do_HEAD

    def log_message(self, format: str, *arguments: Any) -> None:
        """Stays quiet: `requests` has it all."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        fault = self._fault(path, of_body=False)
        Event().wait(fault.seconds)  # not time.sleep, which a test may take away
        if fault.status:
            return self._reply(fault.status, fault.headers)
        if path in self.hub.plain:
            content = self.hub.plain[path]
            return self._send(content, {"ETag": f'"{content.digest("sha256")}"'})
        if cdn := re.fullmatch(r"/cdn/([0-9a-f]{64})/.*", path):
            return self._send(self._large(cdn[1]), {"ETag": f'"cdn-{cdn[1]}"'})
        if asked := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?", path):
            return self._describe(asked[1], asked[2] or "revision", asked[3] or "main")
        if asked := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(asked[1], asked[2], asked[3])
        return self._reply(404, {})

    def _fault(self, path: str, of_body: bool) -> Fault:
        """The next fault of a path; one of the body waits for a request that is answered with a body, not a redirect."""
        for ending, faults in self.hub.faults.items():
            fits = path.endswith(ending) and faults and faults[0].method in ("*", self.command)
            if fits and of_body == (faults[0].drop_after is not None or faults[0].flip_byte is not None):
                fault = faults[0]
                fault.times -= 1
                if fault.times == 0:
                    faults.pop(0)
                return fault
        return Fault()

    def _token_refused(self, repo: str, needs_grant: bool) -> bool:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            self._reply(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif repo not in self.hub.repositories:
            self._reply(404 if token else 401, {"X-Error-Code": "RepoNotFound"} if token else {})
        elif needs_grant and self.hub.repositories[repo].gated and repo not in self.hub.tokens.get(token, ()):
            words = f"Access to model {repo} is restricted."
            self._reply(403 if token else 401, {"X-Error-Code": "GatedRepo", "X-Error-Message": words})
        else:
            return False
        return True

    def _commit(self, repo: str, revision: str) -> str:
        repository = self.hub.repositories[repo]
        commit = repository.revisions.get(revision, revision)
        if commit not in repository.commits:
            self._reply(404, {"X-Error-Code": "RevisionNotFound"})
            return ""
        return commit

    def _describe(self, repo: str, kind: str, revision: str) -> None:
        if self._token_refused(repo, needs_grant=False) or not (commit := self._commit(repo, revision)):
            return
        files = self.hub.repositories[repo].commits[commit]
        if kind == "tree":
            listing: Any = [
                {
                    "type": "file",
                    "path": name,
                    "size": file.content.size,
                    "oid": file.blob_id,
                    **_large_part(file, "oid"),
                }
                for name, file in files.items()
            ]
        else:
            detailed = "blobs" in parse_qs(urlsplit(self.path).query)
            siblings = [{"rfilename": name, **(_details(file) if detailed else {})} for name, file in files.items()]
            gated = "manual" if self.hub.repositories[repo].gated else False
            listing = {"id": repo, "modelId": repo, "sha": commit, "private": False, "gated": gated, "tags": []}
            listing |= {"downloads": 0, "likes": 0, "siblings": siblings}
        self._reply(200, {"Content-Type": "application/json"}, json.dumps(listing).encode())

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        if self._token_refused(repo, needs_grant=True) or not (commit := self._commit(repo, revision)):
            return
        file = self.hub.repositories[repo].commits[commit].get(name)
        if file is None:
            return self._reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file.etag}"'}
        if not file.is_large:
            return self._send(file.content, headers)
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.content.size)}
        self._reply(302, {**headers, "Location": f"http://localhost:{self.hub.port}/cdn/{file.sha256}/{name}"})

    def _large(self, sha256: str) -> Content:
        stored = (files for repository in self.hub.repositories.values() for files in repository.commits.values())
        return next(file.content for files in stored for file in files.values() if file.sha256 == sha256)

    def _send(self, content: Content, headers: dict[str, str]) -> None:
        """The file, or the rest of it from the start of a range, unless If-Range says that it was another."""
        start, status = 0, 200
        headers = {**headers, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            start, status = int(wanted[1]), 206
            headers["Content-Range"] = f"bytes {start}-{content.size - 1}/{content.size}"
            if start >= content.size:
                return self._reply(416, {**headers, "Content-Range": f"bytes */{content.size}"})
        self._begin(status, {**headers, "Content-Length": str(content.size - start)})
        if self.command == "HEAD":
            return
        fault = self._fault(unquote(urlsplit(self.path).path), of_body=True)
        stop = content.size if fault.drop_after is None else min(content.size, start + fault.drop_after)
        for begin in range(start, stop, CHUNK_BYTES):
            chunk = bytearray(content.read(begin, min(begin + CHUNK_BYTES, stop)))
            if fault.flip_byte is not None and begin <= fault.flip_byte < begin + len(chunk):
                chunk[fault.flip_byte - begin] ^= 1
            self.wfile.write(chunk)
        if stop < content.size:
            self.wfile.flush()
            self.close_connection = True

    def _reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self._begin(status, {**headers, "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.hub.requests.append(Request(self.command, self.path.partition("?")[0], dict(self.headers), status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _large_part(file: StoredFile, digest_name: str) -> dict[str, Any]:
    large = {digest_name: file.sha256, "size": file.content.size, "pointerSize": 134}
    return {"lfs": large} if file.is_large else {}


def _details(file: StoredFile) -> dict[str, Any]:
    return {"size": file.content.size, "blobId": file.blob_id, **_large_part(file, "sha256")}
