"""The page in a real browser: whole sessions by keyboard and by touch, reloads, two listeners at once, and what is refused."""

import base64
import contextlib
import functools
import io
import json
import shutil
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

from audioptq.listen.analyse.findings import find
from audioptq.listen.answers.serve import ListeningServer, answers_path
from audioptq.listen.build import TestSettings, build_test, key_path
from tests.browser import NEEDS_CHROMIUM, Browser

# A name of a lab's network: plain HTTP from there is no secure context, so that a browser has less to offer than on 127.0.0.1.
LAB = "--host-resolver-rules=MAP lab.test 127.0.0.1"

pytestmark = NEEDS_CHROMIUM
CODES = {"Enter": 13, " ": 32, "Tab": 9, "Backspace": 8, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}
# Sees what Web Audio is asked to start, when, and from where in the clip.
SPY = """
window.starts = [];
window.gains = [];
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (...given) {
  if (this instanceof GainNode) gains.push(this.gain);
  return connect.apply(this, given);
};
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (...given) { starts.push(given); return start.apply(this, given); };
"""
# Keeps every sample that goes to the loudspeaker, from the audio thread itself, which drops none.
RECORDER = """
window.sounded = [];
const plain = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...rest) {
  if (target === this.context.destination && this !== window.recorder) plain.call(this, recorder);
  return plain.call(this, target, ...rest);
};
const code = `registerProcessor('recorder', class extends AudioWorkletProcessor {
  process([input]) { if (input.length) this.port.postMessage(input[0].slice()); return true; } })`;
window.AudioContext = class extends AudioContext {
  constructor(options) {
    super(options);
    window.ready = this.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: 'text/javascript' }))).then(() => {
      window.recorder = new AudioWorkletNode(this, 'recorder');
      recorder.port.onmessage = ({ data }) => sounded.push(...data);
    });
  }
};
"""
STATE = "JSON.parse(Object.entries(localStorage).find(([name]) => name.startsWith('audioptq-listen:{test}:'))[1])"


class Listener(Browser):
    """A browser with hands: keys and fingers."""

    def __init__(self, profile):
        super().__init__(profile, LAB)
        self.call("Page.addScriptToEvaluateOnNewDocument", source=SPY)

    def visit(self, url, width=1200, touch=False):
        """Opens a page as somebody who has never been there."""
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=850, deviceScaleFactor=1, mobile=touch)
        self.events.clear()
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")
        if self.run("localStorage.length"):
            self.run("localStorage.clear()")
            self.call("Page.reload")
            self.wait_for("document.activeElement?.id === 'name'")

    def press(self, *keys):
        for name in keys:
            text = "\r" if name == "Enter" else name if len(name) == 1 else ""
            common = {"key": name, "code": name, "windowsVirtualKeyCode": CODES.get(name, ord(name[0].upper()))}
            self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def tap(self, element, share=0.5):
        """Touches an element, at a share of its width."""
        self.run(f"{element}.scrollIntoView({{ block: 'center' }})")
        x, y = self.run(
            f"(({{ left, top, width, height }}) => [left + {share} * width, top + height / 2])({element}.getBoundingClientRect())"
        )
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def heading(self):
        return self.run("document.querySelector('h1').textContent")

    def state(self, key):
        return json.loads(self.run(f"JSON.stringify({STATE.format(test=key.test)})"))

    def question(self, key):
        """Tokens by place of the question that is shown."""
        state = self.state(key)
        return state["places"][state["order"][state["at"]]]

    def download(self, folder, press):
        folder.mkdir(exist_ok=True)
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        press()
        deadline = time.monotonic() + 20
        while not (found := list(folder.glob("*.json"))):
            assert time.monotonic() < deadline, "nothing was downloaded"
            time.sleep(0.05)
        return found[0]


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    listener = Listener(tmp_path_factory.mktemp("profile"))
    yield listener
    listener.close()


@pytest.fixture
def page(listener):
    yield listener
    listener.call("Page.navigate", url="about:blank")


def address(folder):
    return (folder / "index.html").as_uri()


def small(results, folder, **settings):
    """A test of few questions."""
    return build_test(results, folder, TestSettings(**{"n_prompts": 2, **settings}), say=lambda text: None)


def button(text):
    return f"[...document.querySelectorAll('button')].find((b) => b.textContent.trim().startsWith({text!r}))"


def rate(page, key, grades):
    """Answers the rating that is shown, by keyboard, as the key says."""
    (token,) = page.question(key)["rated"]
    page.wait_for("!document.querySelector('.play').disabled")
    page.press(" ")
    page.wait_for("!document.querySelector('.grades').disabled")
    page.press(str(grades[key.clips[token]["variant"]]), "Enter")


def means(found):
    return {record["variant"]: record["mean"] for record in found.record["variants"]}


def test_a_whole_session_by_keyboard_with_a_reload_in_the_middle(page, built, tmp_path):
    folder, key = built["rating"]
    grades = {"fp32": 5, "w8a8_sqs": 4, "w8a8_sqd_lora": 2}
    page.visit(address(folder))
    assert page.run("document.activeElement.id") == "name"
    page.type("Ann \U0001f3a7 =1+1")
    page.press("Enter")
    for number in range(1, 16):
        assert page.heading() == f"Question {number} of 15"
        rate(page, key, grades)
        if number == 7:
            before = page.state(key)
            page.call("Page.reload")
            page.wait_for("document.querySelector('.resume')")
            assert "7 of 15 questions answered" in page.run("document.querySelector('.kept').textContent")
            page.press("Enter")  # what one left has the focus
            page.wait_for("document.querySelector('h1').textContent === 'Question 8 of 15'")
            after = page.state(key)
            for name in ("id", "name", "order", "places", "answers", "heard", "plays", "started"):
                assert after[name].items() >= before[name].items() if name == "heard" else after[name] == before[name]
    assert page.heading() == "Finished"
    path = page.download(tmp_path / "in", lambda: page.press("Enter"))  # "Save" has the focus
    assert page.complaints() == []
    outside = [url for url in page.requests() if not url.startswith(("data:", "blob:", folder.as_uri()))]
    assert outside == ["about:blank"] or outside == []
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["listener"]["name"] == "Ann \U0001f3a7 =1+1"
    assert record["complete"]
    assert path.name == f"answers-{key.test}-{record['listener']['id']}.json"
    found = find(key_path(folder), [path])
    assert means(found) == grades
    assert all(answer["plays"] == 1 for answer in record["answers"])
    assert found.judgements["heard_ms"].between(800, 1400).all()  # the clips have a second


def test_a_whole_session_by_touch_on_a_telephone(page, results, tmp_path):
    key = small(results, tmp_path / "test", mode="mushra")
    scores = {"fp32": 100, "w8a8_sqs": 75, "w8a8_sqd_lora": 50, "anchor_3k5": 0, "anchor_7k": 25}
    page.visit(address(tmp_path / "test") + "?simulated", 400, touch=True)
    page.tap(button("Begin"))
    page.wait_for("document.querySelector('h1').textContent === 'Question 1 of 2'")
    for number in (1, 2):
        assert page.heading() == f"Question {number} of 2"
        page.wait_for("!document.querySelector('.play').disabled")
        assert page.run("document.documentElement.scrollWidth") <= 400
        places = page.question(key)
        page.tap("document.querySelector('.listen')")
        for index, token in enumerate(places["rated"]):
            row = f"document.querySelectorAll('.mushra li')[{index}]"
            page.wait_for(f"document.querySelectorAll('.listen')[{index}].classList.contains('heard')")
            page.tap(f"{row}.querySelector('.listen')")
            page.wait_for(f"!{row}.querySelector('input').disabled")
            page.tap(f"{row}.querySelector('input')", min(max(scores[key.clips[token]["variant"]] / 100, 0.02), 0.98))
            page.wait_for(f"!{row}.querySelector('input').classList.contains('unset')")
        page.tap(button("Next"))
        page.wait_for(f"document.querySelector('h1').textContent !== 'Question {number} of 2'")
    assert page.heading() == "Finished"
    path = page.download(tmp_path / "in", lambda: page.tap(button("Save my answers")))
    assert page.complaints() == []
    found = find(key_path(tmp_path / "test"), [path])
    assert found.record["listeners"]["simulated"] == 1
    # A fingertip is not exact: the slider's thumb takes a share of its width.
    assert means(found) == pytest.approx(scores, abs=3)


@contextlib.contextmanager
def served(folder):
    server = ListeningServer(folder, "127.0.0.1", 0, say=lambda text: None)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.addresses[0]
    server.shutdown()
    server.server_close()


def test_two_listeners_at_once_against_the_server(page, results, tmp_path, tmp_path_factory):
    key = small(results, tmp_path / "test", n_prompts=1, mode="abx", recipes=["w4a4_sqs"], repeats=4)
    second = Listener(tmp_path_factory.mktemp("second"))
    try:
        with served(tmp_path / "test") as url:
            for who, name in ((page, "Ann"), (second, "Bob")):
                who.visit(url.replace("127.0.0.1", "lab.test"))
                assert not who.run("isSecureContext")
                who.type(name)
                who.press("Enter")
            for _ in range(4):
                for who in (page, second):
                    who.wait_for("!document.querySelector('.play').disabled")
                    for clip in "abx":
                        who.press(clip)
                        who.wait_for(
                            f"document.querySelectorAll('.listen')['abx'.indexOf('{clip}')].classList.contains('heard')"
                        )
                    places = who.question(key)
                    variants = {place: key.clips[token]["variant"] for place, token in places.items()}
                    right = variants["a"] == variants["x"]
                    # Ann recognises X every time, Bob never does.
                    who.press("1" if right == (who is page) else "2", "Enter")
            for who in (page, second):
                assert who.heading() == "Finished"
                who.press("Enter")
                who.wait_for("document.querySelector('.said').textContent.includes('have been handed in')")
            page.press("Enter")
            page.wait_for("document.querySelector('.said').textContent.includes('here already')")
            refused = [text for text in page.complaints() if "409" not in text]
            assert refused == []
    finally:
        second.close()
    found = find(key_path(tmp_path / "test"), [answers_path(tmp_path / "test")])
    (record,) = found.record["recognition"]
    assert (record["n"], record["n_correct"]) == (8, 4)
    assert {entry["name"]: entry["n_correct"] for entry in record["listeners"]} == {"Ann": 4, "Bob": 0}
    assert found.record["listeners"]["received_by_a_server"] == 2


def test_nothing_can_be_answered_unheard(page, built):
    folder, _ = built["rating"]
    page.visit(address(folder) + "?simulated")
    page.press("Enter")
    page.wait_for("!document.querySelector('.play').disabled")
    page.press("3", "Enter")
    assert page.heading() == "Question 1 of 15"
    assert page.run("document.querySelector('.wants').textContent") == "Listen to the whole clip first."
    page.press(" ")
    page.wait_for("document.querySelector('.play').textContent === 'Pause'")
    page.press(" ", "3", "Enter")  # stopped in the middle
    assert page.run("document.querySelector('.grades').disabled")
    assert page.heading() == "Question 1 of 15"


def test_switching_keeps_the_sample(page, results, tmp_path):
    small(results, tmp_path / "test", mode="mushra", n_prompts=1)
    page.visit(address(tmp_path / "test"))
    page.press("Enter")
    page.wait_for("!document.querySelector('.play').disabled")
    page.press(" ")
    page.wait_for("starts.length")
    starts = page.run("starts")
    assert len(starts) == 6  # reference, hidden reference, two recipes, two anchors
    assert all(start == starts[0] for start in starts)  # one moment, one place
    for name in "abr":
        page.press(name)
        page.wait_for("gains.filter((gain) => gain.value === 1).length === 1")
        # One sounds, and all others are mute.
        page.wait_for("gains.filter((gain) => gain.value === 0).length === 5")
    page.press("c")
    assert page.run("document.querySelector('.play').textContent") == "Pause"
    assert page.run("starts.length") == 6  # nothing was started anew
    page.press(" ", "ArrowRight")
    page.wait_for("document.querySelector('.play').textContent === 'Play'")
    page.press(" ")
    page.wait_for("starts.length === 12")
    again = page.run("starts.slice(6)")
    assert all(start == again[0] for start in again)
    assert again[0][1] > 0


def test_what_sounds_is_the_clip_to_the_sample_across_switches(page, results, tmp_path):
    # The open and the hidden reference are one clip: whoever switches between them must hear just that clip.
    key = small(results, tmp_path / "test", mode="mushra", n_prompts=1)
    page.call("Page.setBypassCSP", enabled=True)  # for the recorder alone
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source=RECORDER)["identifier"]
    try:
        with served(tmp_path / "test") as url:
            page.visit(url)
            page.press("Enter")
            page.wait_for("!document.querySelector('.play').disabled")
            page.run("ready")
            places = page.question(key)
            hidden = "abcde"[[key.clips[token]["variant"] for token in places["rated"]].index("fp32")]
            for name in ("r", hidden, "r", hidden):
                page.press(name)
                page.run("new Promise((done) => setTimeout(done, 150))")
                assert (
                    page.run("document.querySelector('.listen[aria-pressed=true]').textContent")
                    .lower()
                    .startswith(name)
                )
            sounded = np.array(page.run("sounded"))
    finally:
        page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
        page.call("Page.setBypassCSP", enabled=False)
    text = (tmp_path / "test/clips" / f"{places['reference']}.js").read_text()
    clip, rate = soundfile.read(io.BytesIO(base64.b64decode(text.split('"')[3])))
    first = np.flatnonzero(sounded)[0] - np.flatnonzero(clip)[0]
    n = min(len(sounded) - first, len(clip))  # the clip is looped, and the first round is enough
    assert n > 0.4 * rate
    # A fade adds two parts of one sample; 24 bits are its rounding.
    np.testing.assert_allclose(sounded[first : first + n], clip[:n], atol=2**-22)


def test_a_stretch_is_looped(page, built):
    page.visit(address(built["abx"][0]) + "?simulated")
    page.press("Enter")
    page.wait_for("!document.querySelector('.play').disabled")
    page.press("ArrowRight", "[")
    assert page.run("document.querySelector('.toggle').getAttribute('aria-pressed')") == "true"
    assert not page.run("document.querySelector('.stretch').hidden")
    page.press("\\")
    assert page.run("document.querySelector('.stretch').hidden")
    page.press("o")
    assert page.run("document.querySelector('.toggle').getAttribute('aria-pressed')") == "false"


def test_a_browser_that_keeps_nothing_says_so(page, results, tmp_path):
    key = small(results, tmp_path / "test", n_prompts=1, recipes=["w8a8_sqs"])
    page.visit(address(tmp_path / "test") + "?simulated")
    page.run("Storage.prototype.setItem = () => { throw new Error('full'); }; undefined")
    page.press("Enter")
    assert "keeps nothing" in page.run("document.querySelector('.warning ~ .warning').textContent")
    for _ in range(2):
        page.wait_for("!document.querySelector('.play').disabled")
        page.press(" ")
        page.wait_for("!document.querySelector('.grades').disabled")
        page.press("4", "Enter")
    path = page.download(tmp_path / "in", lambda: page.press("Enter"))
    assert means(find(key_path(tmp_path / "test"), [path])) == {"fp32": 4, "w8a8_sqs": 4}
    assert key.test in path.name


def test_what_is_damaged_in_the_browser_hides_nothing_else(page, built):
    folder, key = built["rating"]
    page.visit(address(folder) + "?simulated")
    page.press("Enter")
    page.run(f"localStorage.setItem('audioptq-listen:{key.test}:broken', '{{'); localStorage.setItem('other', 'x')")
    page.run(f"localStorage.setItem('audioptq-listen:{key.test}:empty', '{{}}')")
    page.call("Page.reload")
    page.wait_for("document.querySelector('.resume')")
    assert page.run("document.querySelectorAll('.resume').length") == 1
    assert page.complaints() == []


def test_half_a_session_can_be_handed_in(page, results, tmp_path):
    key = small(results, tmp_path / "test", n_prompts=1)
    shutil.move(key_path(tmp_path / "test"), tmp_path / "key.json")
    with served(tmp_path / "test") as url:
        page.visit(url + "?simulated")
        page.run(r"document.getElementById('name').value = 'half \ud800 a pair'")
        page.press("Enter")
        rate(page, key, dict.fromkeys(key.recipes, 2))
        page.run(f"{button('Stop here')}.click()")
        assert "1 of 3 questions" in page.run("document.querySelector('.card').textContent")
        page.run("document.getElementById('comment').focus()")
        page.type("<b>\u2028=1 \U0001f600")
        page.run(f"{button('Hand in')}.click()")
        page.wait_for("document.querySelector('.said').textContent.includes('have been handed in')")
    found = find(tmp_path / "key.json", [answers_path(tmp_path / "test")])
    assert len(found.judgements) == 1
    assert found.record["listeners"]["incomplete"] == 1
    assert found.judgements["name"][0] == "half \ufffd a pair"
    assert found.record["comments"][0]["comment"] == "<b>\u2028=1 \U0001f600"


def test_a_page_that_nobody_collects_offers_the_file(page, results, tmp_path):
    small(results, tmp_path / "test", n_prompts=1)
    plain = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "test")
    with ThreadingHTTPServer(("127.0.0.1", 0), plain) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        page.visit(f"http://127.0.0.1:{server.server_address[1]}/index.html")
        page.press("Enter")
        page.run(f"{button('Stop here')}.click()")
        page.run(f"{button('Hand in')}.click()")
        page.wait_for(
            "document.querySelector('.said').textContent.startsWith('Nobody collects answers at this address. Save')"
        )
        page.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        page.run(f"{button('Hand in')}.click()")
        page.wait_for("document.querySelector('.said').textContent.startsWith('The answers could not be sent.')")
        page.call(
            "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        server.shutdown()


def test_a_missing_clip_is_said(page, results, tmp_path):
    key = small(results, tmp_path / "test", n_prompts=1, recipes=["w8a8_sqs"])
    for token in key.clips:
        (tmp_path / "test/clips" / f"{token}.js").unlink()
    page.visit(address(tmp_path / "test"))
    page.press("Enter")
    page.wait_for("document.querySelector('.wants').textContent.includes('Is the folder \"clips\" beside the page?')")


def test_a_hostile_caption_is_text(page, results, tools, tmp_path):
    small(results, tmp_path / "test", prompts=["clip-4"])
    page.visit(address(tmp_path / "test"))
    page.press("Enter")
    assert page.run("document.querySelector('blockquote').textContent") == tools.hostile
    assert page.run("document.title") == "Listening test"
    assert page.run("document.querySelectorAll('img, blockquote *').length") == 0


@pytest.mark.parametrize("mode", ["rating", "mushra", "abx"])
@pytest.mark.parametrize("width", [360, 400, 1400])
def test_nothing_overflows(page, built, mode, width):
    page.visit(address(built[mode][0]) + "?simulated", width)
    assert page.run("document.documentElement.scrollWidth") <= width
    page.press("Tab")
    page.run(f"{button('Begin')}.click()")
    page.wait_for("!document.querySelector('.play').disabled")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert "[object" not in page.run("document.body.textContent")
    # What a finger must hit is at least 24 px high (WCAG 2.2, 2.5.8).
    sizes = page.run(
        "[...document.querySelectorAll('button, input, .grade')].map((e) => e.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 24
