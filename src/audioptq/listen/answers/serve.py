"""Serves a listening test in a lab's network and collects the answers: the standard library's HTTP server, and nothing to list."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from audioptq.errors import UserError
from audioptq.listen.answers.collect import Collection, DuplicateError
from audioptq.listen.answers.file import MAX_BYTES, AnswersError
from audioptq.listen.build import beside, key_path, read_plan
from audioptq.listen.key import TestKey

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
SECONDS_OF_SILENCE, SECONDS_TO_DRAIN = 30.0, 2.0


class ListeningServer(ThreadingHTTPServer):
    """Files of one folder, named beforehand, and one address that takes answers in.

    Args:
        folder: Of `build_test`.
        host: Address to listen at.
        port: 0 takes a free one.
        say: Called with a line for each listener who has handed in.

    Raises:
        UserError: If the folder is no listening test, its key is another test's, or the port is taken.
    """

    daemon_threads = True
    request_queue_size = 128  # a lab hands in at the same moment; the library's 5 would reset connections

    def __init__(self, folder: str | Path, host: str, port: int, say: Callable[[str], object] = print) -> None:
        folder = Path(folder)
        plan = read_plan(folder)
        key = TestKey.read(key_path(folder)) if key_path(folder).exists() else None
        if key is not None and key.stamp != plan["stamp"]:
            raise UserError(
                f"{key_path(folder)} is the key of another test than {folder}. Put the right one beside it, or none."
            )
        self.say, self.is_signing = say, key is not None
        self.files = {"/": folder / "index.html", "/index.html": folder / "index.html"}
        self.files |= {f"/clips/{path.name}": path for path in sorted((folder / "clips").glob("*.js"))}
        self.collection = Collection(answers_path(folder), plan["stamp"], key)
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            raise UserError(
                f"Nothing can be served at {host}, port {port}: {error.strerror}. Name another with --host and --port."
            ) from error

    @property
    def addresses(self) -> list[str]:
        """Where browsers find the page."""
        host, port = self.server_address[:2]
        hosts = [str(host)] if host not in ("0.0.0.0", "::") else [socket.gethostname(), "127.0.0.1"]
        return [f"http://{name}:{port}/" for name in hosts]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no event."""


class Handler(BaseHTTPRequestHandler):
    """One request: a file that was named beforehand, or answers."""

    server: ListeningServer
    timeout = SECONDS_OF_SILENCE
    server_version, sys_version = "audioptq", ""
    HEADERS: ClassVar[dict[str, str]] = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }

    def do_GET(self) -> None:
        """Sends one of the test's files; whatever else is asked for is not there."""
        path = self.server.files.get(urlsplit(self.path).path)
        if path is None:
            self._say(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
            return
        self._send(HTTPStatus.OK, TYPES[path.suffix], path.read_bytes())

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Takes answers in. Their size is looked at before a byte of them is read."""
        if urlsplit(self.path).path != "/answers":
            self._say(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
            return
        if self.headers.get_content_type() != "application/json":  # pages of other origins cannot send this unasked
            self._say(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Answers are JSON.")
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._say(HTTPStatus.LENGTH_REQUIRED, "The size of the answers is not said.")
            return
        if len(length) > 12 or int(length) > MAX_BYTES:
            self._say(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"Answers have at most {MAX_BYTES:,} bytes, not {int(length[:15]):,}. Nothing was read.",
            )
            return
        content = self.rfile.read(int(length))
        try:
            if len(content) < int(length):
                raise AnswersError("The answers broke off on their way.")
            answers = self.server.collection.add(content)
        except DuplicateError as error:
            self._say(HTTPStatus.CONFLICT, str(error))
        except AnswersError as error:
            self._say(HTTPStatus.BAD_REQUEST, str(error))
        except OSError:
            self._say(HTTPStatus.INSUFFICIENT_STORAGE, "The server could not store your answers.")
        else:
            kind = "simulated listener" if answers.record["simulated"] else "listener"
            self.server.say(
                f"{len(self.server.collection)} in: {kind} {answers.name!r}, {len(answers.record['answers'])} answers"
            )
            self._say(HTTPStatus.CREATED, "Your answers have been handed in. Thank you.")

    def _say(self, status: HTTPStatus, message: str) -> None:
        self._send(status, "application/json", json.dumps({"message": message}).encode())
        self._drain()

    def _drain(self) -> None:
        """Lets a client that is still sending read the reply: closing at once would throw both away. Nothing is kept."""
        end = time.monotonic() + SECONDS_TO_DRAIN
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(SECONDS_TO_DRAIN)
            while time.monotonic() < end and self.connection.recv(1 << 16):
                pass

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-cache",
            **self.HEADERS,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is kept of who asked for what."""


def answers_path(folder: str | Path) -> Path:
    """Where answers go: beside the folder, so that they cannot be asked for."""
    return beside(folder, ".answers.jsonl")
