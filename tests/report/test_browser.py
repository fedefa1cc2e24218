"""The page in a real browser: headless Chromium over its debugging pipe, so that no driver and no package is needed."""

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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"),
]


class Browser:
    """One tab. Messages are JSON ended by a zero byte, to the browser's descriptor 3 and from its descriptor 4."""

    def __init__(self, profile):
        read_in, self._write = os.pipe()
        self._read, write_out = os.pipe()
        # A shell moves the pipes to 3 and 4, where Chromium looks for them; Popen alone can only keep their numbers.
        command = f'exec 3<&{read_in} 4>&{write_out}; exec "$0" "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", command, PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
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


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(browser, built):
    browser.open((built[1] / "report.html").as_uri())
    return browser


def order(page):
    return page.run(
        "[...document.querySelectorAll('#results tbody:not(.published) th')].map((cell) => cell.textContent)"
    )


def click_header(page, name):
    buttons = "[...document.querySelectorAll('#results th button')]"
    page.run(f"{buttons}.find((button) => button.textContent.startsWith({name!r})).click()")


def sorted_states(page):
    return page.run(
        "[...document.querySelectorAll('#results th[aria-sort]')].map((h) => h.ariaSort).filter((s) => s !== 'none')"
    )


def test_page_loads_without_complaint_or_outside_request(page, built):
    page.run("new Promise((done) => setTimeout(done, 300))")
    assert page.complaints() == []
    outside = [url for url in page.requests() if not url.startswith("data:")]
    assert outside == [(built[1] / "report.html").as_uri()]


def test_the_driver_sees_errors_and_requests(browser, tmp_path):
    # Guards the test above: were the browser deaf, it would pass on any page.
    (tmp_path / "bad.html").write_text("<script>missing()</script><img src='http://127.0.0.1:9/a.png'>")
    browser.open((tmp_path / "bad.html").as_uri())
    browser.run("new Promise((done) => setTimeout(done, 300))")
    assert any("missing is not defined" in complaint for complaint in browser.complaints())
    assert "http://127.0.0.1:9/a.png" in browser.requests()


def test_policy_blocks_what_the_page_does_not_hold(page):
    page.run("document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/a.png' }))")
    page.run("new Promise((done) => setTimeout(done, 300))")
    assert any("Content Security Policy" in complaint for complaint in page.complaints())


def test_hostile_caption_did_nothing(page, hostile):
    assert page.run("document.title") == "What quantization costs mini, and what it buys"
    assert hostile in page.run("document.querySelector('.example h3').textContent")


def test_headers_sort_the_rows(page):
    assert order(page) == ["fp32", "w8a8_sqd", "w4a8_rtn", "w4a4_sqs"]
    click_header(page, "FD")
    assert order(page) == ["fp32", "w8a8_sqd", "w4a8_rtn", "w4a4_sqs"]
    assert sorted_states(page) == ["ascending"]
    click_header(page, "FD")
    assert order(page) == ["w4a4_sqs", "w4a8_rtn", "w8a8_sqd", "fp32"]
    assert sorted_states(page) == ["descending"]
    click_header(page, "Size")
    assert order(page) == ["w4a8_rtn", "w4a4_sqs", "w8a8_sqd", "fp32"]


def test_rows_without_a_value_stay_below(page):
    for _ in range(2):
        click_header(page, "MCD")
        assert order(page)[-1] == "fp32"


def test_best_side_comes_first(page):
    click_header(page, "CLAP")
    assert sorted_states(page) == ["descending"]
    assert order(page)[-1] == "w4a4_sqs"


def test_header_is_reached_by_keyboard(page):
    page.run(
        "[...document.querySelectorAll('#results th button')].find((b) => b.textContent.startsWith('Recipe')).focus()"
    )
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    assert order(page) == ["fp32", "w4a4_sqs", "w4a8_rtn", "w8a8_sqd"]


def test_audio_plays_one_at_a_time_from_the_same_moment(page):
    page.run("window.players = [...document.querySelectorAll('.example')[0].querySelectorAll('audio')]; undefined")
    page.run("players[0].play()")
    page.wait_for("players[0].currentTime > 0.2 && players[0].readyState >= 2")
    # Looked at from within: a busy machine may ask when the second is over.
    page.run(
        "players[1].ontimeupdate = () => (window.seen ??= [players[0].paused,"
        " players[1].closest('li').classList.contains('playing')]); undefined"
    )
    page.run("players[1].play()")
    page.wait_for("players[1].ended")
    assert page.run("seen[0]")
    assert page.run("seen[1]")
    assert page.run("Math.abs(players[1].duration - 1) < 0.01")
    assert page.complaints() == []


def test_a_clip_of_another_prompt_starts_at_its_beginning(page):
    page.run(
        "window.firsts = [...document.querySelectorAll('.example')].map((e) => e.querySelector('audio')); undefined"
    )
    page.run("firsts[0].play()")
    page.wait_for("firsts[0].currentTime > 0.4")
    assert page.run("firsts[1].play().then(() => firsts[1].currentTime)") < 0.3


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_overflows(browser, built, width):
    browser.open((built[1] / "report.html").as_uri(), width)
    browser.run("document.querySelectorAll('details').forEach((box) => (box.open = true))")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.body.scrollWidth") <= width
    # The wide table scrolls inside its own box.
    box = browser.run(
        "(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth])(document.querySelector('.scroll'))"
    )
    assert box[1] <= width
    assert (box[0] > box[1]) == (width == 400)


def test_every_picture_and_drawing_shows(page):
    assert page.run("[...document.images].every((image) => image.naturalWidth === 320)")
    sizes = page.run("[...document.querySelectorAll('figure svg')].map((s) => s.getBoundingClientRect().height)")
    assert len(sizes) == 5
    assert min(sizes) > 150


def test_dark_page_has_light_text_in_its_drawings(page):
    ink = "getComputedStyle(document.querySelector('figure svg g[id$=text_1] g')).fill"
    light = page.run(ink)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = page.run(ink)
    page.call("Emulation.setEmulatedMedia", features=[])
    assert (light, dark) == ("rgb(32, 36, 43)", "rgb(230, 233, 238)")
