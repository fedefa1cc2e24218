"""The page in a real browser."""

import pytest

from tests.browser import NEEDS_CHROMIUM, Browser

pytestmark = NEEDS_CHROMIUM


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
