"""Headless Chromium over its debugging pipe, so that tests of pages need no driver and no package."""

import json
import os
import select
import shutil
import subprocess
import time

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-default-apps --disable-dev-shm-usage --mute-audio "
    "--remote-debugging-pipe"
).split()

NEEDS_CHROMIUM = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"),
]


class Browser:
    """One tab. Messages are JSON ended by a zero byte, to the browser's descriptor 3 and from its descriptor 4."""

    def __init__(self, profile, *flags):
        read_in, self._write = os.pipe()
        self._read, write_out = os.pipe()
        # A shell moves the pipes to 3 and 4, where Chromium looks for them; Popen alone can only keep their numbers.
        command = f'exec 3<&{read_in} 4>&{write_out}; exec "$0" "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", command, PROGRAM, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(read_in, write_out),
            env={**os.environ, "HOME": str(profile)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_in)
        os.close(write_out)
        self._buffer, self._last_id, self._session, self.events = b"", 0, None, []
        tabs = [target for target in self.call("Target.getTargets")["targetInfos"] if target["type"] == "page"]
        self._session = self.call("Target.attachToTarget", targetId=tabs[0]["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _message(self, deadline):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._read, 1 << 16) if ready else b""
            if not chunk:
                raise TimeoutError("the browser went away" if ready else "the browser did not answer")
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def call(self, method, timeout=60.0, **parameters):
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._message(deadline)
            if answer.get("id") != self._last_id:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            else:
                return answer["result"]

    def open(self, url, width=1400):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def run(self, expression):
        # A user's gesture, since browsers let no page play sound by itself.
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression, timeout=30.0):
        deadline = time.monotonic() + timeout
        while not self.run(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"still not so: {expression}"
            time.sleep(0.05)

    def requests(self):
        return [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]

    def complaints(self):
        """Whatever the console shows in yellow or red: page errors, failed loads, violations of the content policy."""
        found = []
        for event in self.events:
            method, parameters = event.get("method"), event.get("params", {})
            loud = method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert")
            logged = method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning")
            if loud or logged or method == "Runtime.exceptionThrown":
                found.append(json.dumps(parameters))
        return found

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
