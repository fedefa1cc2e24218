"""A small web site of sounds that answers well, slowly, wrongly or not at all; and settings that ask it in a hurry."""

import io
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

import numpy as np
import pytest
import soundfile

from audioptq.references.source import AudioSource
from audioptq.references.wanted import Wanted

RATE = 44100


@pytest.fixture
def noise():
    """`noise(seconds)`: `[samples, channels]` int16. No two stretches are alike: a clip cut in the wrong place is seen."""

    def make(seconds, rate=RATE, channels=2, seed=0):
        generator = np.random.default_rng(seed)
        return generator.integers(-20000, 20000, (round(seconds * rate), channels)).astype(np.int16)

    return make


@pytest.fixture
def encoded():
    """`encoded(audio, rate, kind)`: the bytes of a file."""

    def make(audio, rate=RATE, kind="WAV"):
        buffer = io.BytesIO()
        soundfile.write(buffer, audio, rate, format=kind)
        return buffer.getvalue()

    return make


@dataclass
class Page:
    """What the site answers under one name.

    `status` for the first `failures` requests (all of them, if negative); only the first `sent` bytes are ever sent; `gate`
    holds the answer back; `pause` seconds lie between pieces.
    """

    body: bytes = b""
    kind: str = "audio/x-wav"
    status: int = 200
    failures: int = -1
    headers: dict = field(default_factory=dict)
    sent: int | None = None
    gate: threading.Event | None = None
    pause: float = 0.0


class Site:
    """A server on this machine. `pages` by name; `requests` lists what was asked for."""

    def __init__(self):
        self.pages, self.requests = {}, []
        self.asked = threading.Condition()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = unquote(self.path.removeprefix("/clip/"))
                with site.asked:
                    site.requests.append(name)
                    site.asked.notify_all()
                try:
                    site.answer(self, site.pages.get(name, Page(status=404)), site.requests.count(name))
                except ConnectionError:
                    pass

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/clip/"

    def put(self, name, body=b"", **answer):
        """Sets what is answered under a name: the fields of `Page`."""
        self.pages[name] = Page(body, **answer)

    def answer(self, handler, page, n_requests):
        if page.gate is not None:
            page.gate.wait(30)
        if page.status != 200 and not 0 <= page.failures < n_requests:
            handler.send_response(page.status)
            for key, value in page.headers.items():
                handler.send_header(key, value)
            handler.end_headers()
            return
        first = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        whole = len(page.body)
        handler.send_response(206 if handler.headers.get("Range") else 200)
        handler.send_header("Content-Type", page.kind)
        handler.send_header("Content-Length", str(whole - first))
        handler.send_header("Content-Range", f"bytes {first}-{whole - 1}/{whole}")
        handler.send_header("Accept-Ranges", "bytes")
        handler.end_headers()
        last = whole if page.sent is None else page.sent
        step = 1 << 18
        for begin in range(first, last, step):
            handler.wfile.write(page.body[begin : min(begin + step, last)])
            time.sleep(page.pause)
        handler.close_connection = True

    def wait_for(self, name, seconds=60.0):
        with self.asked:
            assert self.asked.wait_for(lambda: name in self.requests, seconds), f"{name} was never asked for"


@pytest.fixture
def site(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def wanted_of(site):
    """`wanted_of("a.wav", start)`: the clip of that name, which is its id too."""
    return lambda name, start=0.0: Wanted(name, site.url + quote(name), start)


@pytest.fixture
def make_source():
    """A source of two-second clips that waits for nothing; keywords change it."""

    def make(**changes):
        settings = {
            "url": "http://127.0.0.1/clip/{name}",
            "duration": 2.0,
            "rate_limit": 0.0,
            "retries": 0,
            "backoff": 0.0,
        }
        return AudioSource(**{**settings, "stop_after": None, **changes})

    return make


@pytest.fixture
def m4a(tmp_path):
    """AAC in MP4, four seconds of a tone, mono, 48 kHz, its index at the end as cameras write it."""
    path = tmp_path / "tone.m4a"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=1000:duration=4:sample_rate=48000",
        "-c:a",
        "aac",
    ]
    subprocess.run([*command, str(path)], check=True, timeout=30)
    return path.read_bytes()
