"""The studio's page in a browser: the real page, the real server, a tiny clip and short fits."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import dinotrack
from dinotrack.media.encoding import write_video

pytest.importorskip("fastapi", reason="the studio is served by FastAPI")
pytest.importorskip("uvicorn", reason="the studio is served by uvicorn")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

from tests.studio_browser import Driver, Studio  # noqa: E402  it needs Playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FRAMES, HEIGHT, WIDTH = 10, 64, 96
SHIFT = (2, 1)
"""Px a frame, by which everything in the clip moves."""
STEPS = 8
QUICK = """
import sys
from dinotrack import cli
from dinotrack.config import PRESETS, override
PRESETS["fast"] = override(PRESETS["fast"], {"teaching.steps": 4})
sys.exit(cli.main(sys.argv[1:]))
"""
"""The command line, where teaching takes fewer steps than anybody would wish for."""


# --- a studio and a browser -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video in which a texture moves by SHIFT."""
    rng = np.random.default_rng(0)
    high, wide = HEIGHT + SHIFT[1] * FRAMES, WIDTH + SHIFT[0] * FRAMES
    coarse = rng.integers(30, 226, (-(-high // 4), -(-wide // 4), 3), np.uint8)
    texture = coarse.repeat(4, 0).repeat(4, 1)
    starts = [(SHIFT[1] * (FRAMES - t), SHIFT[0] * (FRAMES - t)) for t in range(FRAMES)]
    frames = np.stack([texture[y : y + HEIGHT, x : x + WIDTH] for y, x in starts])
    path = tmp_path_factory.mktemp("clip") / "walk.mp4"
    write_video(path, frames, 12.0)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="module")
def studio(folder: Path) -> Iterator[Studio]:
    started = Studio(folder, line=QUICK)
    yield started
    started.end(signal.SIGINT)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        found = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Browser, studio: Studio) -> Iterator[Any]:
    """open_page(address): a page, which must not have complained in the end."""
    opened: list[Driver] = []

    def go(address: str = studio.address) -> Driver:
        opened.append(Driver(browser, address))
        return opened[-1]

    yield go
    for driver in opened:
        driver.page.close()
        assert driver.complaints == []


def upload(driver: Driver, clip: Path) -> None:
    driver.page.set_input_files("#file", clip)
    driver.is_open()


# --- the ways through it --------------------------------------------------------------------------

AIMS = ((20.25, 16.5), (41.75, 33.1), (60.4, 40.85))
MENDED = (46.3, 35.7)
"""Where the second point is dragged to in frame 4; it is 8 px further on."""


def test_with_the_mouse(open_page: Any, clip: Path, tmp_path: Path) -> None:
    driver = open_page()
    page = driver.page
    upload(driver, clip)
    driver.has("Click what you want to follow", "#hint-text")
    for x, y in AIMS:
        page.mouse.click(*driver.on_screen(x, y))
    driver.has("3 points placed", "#hint-text")
    placed = [(point["t"], point["x"], point["y"]) for point in driver.points()]
    np.testing.assert_allclose(placed, [(0, *aim) for aim in AIMS], atol=0.01)

    assert driver.lane(0, 6, FRAMES) == driver.lane(2, 6, FRAMES)
    empty = driver.lane(0, 6, FRAMES)
    page.fill("#fit-steps", str(STEPS))
    page.click("#fit")
    driver.until("s.fit.status === 'done' && Object.keys(s.versions).length === 3")
    driver.has("Fitted in", "#fit-note")
    driver.has_tracks()
    assert driver.lane(0, 6, FRAMES) != empty

    page.click("#tab-mend")
    for _ in range(4):
        page.click("#step-on")
    x, y = driver.ask("/tracks")["tracks"][1]["xy"][4]
    versions = driver.ask()["versions"]
    page.mouse.move(*driver.on_screen(x, y))
    page.mouse.down()
    page.mouse.move(*driver.on_screen(*MENDED), steps=3)
    page.mouse.up()
    second = driver.points()[1]["id"]
    driver.until("s.versions[given[0]] > given[1]", [second, versions[str(second)]])
    np.testing.assert_allclose(driver.points()[1]["corrections"], [[4, *MENDED]], atol=0.01)
    driver.has("placed by hand", "#mend-point")
    corrected = driver.ask()["versions"]

    page.click("#teach")
    driver.until("Object.keys(given).every((id) => s.versions[id] > given[id])", corrected)
    assert len(driver.ask()["document"]["lessons"]) == 1
    driver.has("Every correction is taught", "#teach-note")
    page.click("#undo")
    driver.until("s.document.lessons.length === 0")
    page.click("#undo")
    driver.until("s.document.points[1].corrections.length === 0")
    page.click("#redo")
    driver.until("s.document.points[1].corrections.length === 1 && s.job === null")
    check_files(driver, tmp_path)


def check_files(driver: Driver, folder: Path) -> None:
    """The files that are downloaded hold what the page shows."""
    page = driver.page
    page.click("#tab-take")
    for name in ("csv", "nuke"):
        page.select_option("#format", name)
        with page.expect_download() as coming:
            page.click("#take-tracks")
        path = folder / coming.value.suggested_filename
        coming.value.save_as(path)
        tracks = dinotrack.load_tracks(path, size=(HEIGHT, WIDTH))
        shown = driver.ask("/tracks")["tracks"]
        seen = np.array([track["visible"] for track in shown], bool)
        np.testing.assert_array_equal(tracks.visible, seen)
        xy = np.array([track["xy"] for track in shown])
        np.testing.assert_allclose(tracks.xy[seen], xy[seen], atol=0.002)
    assert tracks.xy[1, 4] == pytest.approx(MENDED, abs=0.01)


def test_with_the_keyboard_alone(open_page: Any, clip: Path) -> None:
    driver = open_page()
    page = driver.page
    page.on("filechooser", lambda chooser: chooser.set_files(clip))
    driver.tab_to("#file")
    driver.press("Enter")
    driver.is_open()
    driver.press("p", "Control+ArrowLeft", "ArrowUp", *["Shift+ArrowRight"] * 3, "Enter")
    driver.until("s.document.points.length === 1")
    (point,) = driver.points()
    assert (point["t"], point["x"], point["y"]) == pytest.approx((0, 38.3, 31), abs=0.51)
    driver.press("Escape")
    driver.tab_to("#fit-steps")
    page.keyboard.type(str(STEPS))
    driver.press("Escape", "f")
    driver.until("s.fit.status === 'done' && s.versions[given] > 0", point["id"])

    driver.press("Home", *["ArrowRight"] * 3)
    assert page.input_value("#frame-number") == "3"
    driver.has_tracks()
    driver.press("d", "Shift+ArrowDown", "Enter")
    driver.until("s.document.points[0].corrections.length === 1 && s.job === null")
    driver.has("Teach, and the others learn", "#hint-text")
    driver.press("t")
    driver.until("s.document.lessons.length === 1")
    driver.press("End", "x", "a")
    driver.until("s.document.points[0].hidden.length === 1 && s.document.points[0].accepted")
    driver.press("Control+z", "Control+z", "Control+z", "Control+Shift+Z")
    driver.until("s.document.lessons.length === 1 && !s.document.points[0].hidden.length")
    driver.press("?")
    page.wait_for_selector("dialog[open] kbd")
    driver.press("Escape")
    driver.tab_to("#tab-mend")
    driver.press("ArrowRight")
    driver.tab_to("#take-tracks")
    with page.expect_download() as coming:
        driver.press("Enter")
    assert coming.value.suggested_filename.endswith(".csv")


def check_refusal(driver: Driver, folder: Path) -> None:
    """What is no video is refused by a sentence, and the project that was open opens again."""
    (folder / "notes.mp4").write_text("no video")
    opened = driver.page.url
    driver.page.set_input_files("#file", folder / "notes.mp4")
    driver.page.wait_for_selector("#strip")
    text = driver.page.text_content("#strip-text") or ""
    assert re.fullmatch(r"[A-Z].*\.", text), text
    driver.page.goto(opened)
    driver.has("<b>tail</b>", "#points .point")


def test_two_pages_show_one_state_and_a_killed_studio_loses_nothing(
    browser: Browser, folder: Path, clip: Path
) -> None:
    studio = Studio(folder, line=QUICK)
    first = Driver(browser, studio.address)
    upload(first, clip)
    second = Driver(browser, first.page.url)
    second.has("Click what you want to follow", "#hint-text")
    first.page.mouse.click(*first.on_screen(20.5, 20.5))
    second.has("Point", "#points .point")
    first.has("Point", "#points .chosen")
    first.press("F2")
    first.page.keyboard.type("<b>tail</b>")
    first.press("Enter")
    second.has("<b>tail</b>", "#points .point")
    before = first.ask()
    check_refusal(second, folder)
    studio.end(signal.SIGKILL)
    for driver in (first, second):
        driver.has("The studio does not answer", "#strip")
    again = Studio(folder, port=studio.port, line=QUICK)
    for driver in (first, second):
        driver.page.wait_for_selector("#strip", state="hidden")
        assert driver.ask()["document"] == before["document"]
    second.press("Control+z", "Control+z")
    first.has("No points yet", "#points")
    for driver in (first, second):
        driver.page.close()
    again.end(signal.SIGINT)


def test_many_points_at_once_and_a_look_from_near(open_page: Any, clip: Path) -> None:
    driver = open_page()
    page = driver.page
    upload(driver, clip)
    page.click("[data-tool=grid]")
    page.fill("#fill-spacing", "24")
    driver.press("Enter")
    driver.until("s.document.points.length === 12")
    driver.has("12 selected", "#bulk-count")
    page.locator("#bulk-colour").evaluate(
        "input => { input.value = '#112233'; input.dispatchEvent(new Event('change')); }"
    )
    driver.until("s.document.points.every((point) => point.colour === '#112233')")
    page.click("#bulk-remove")
    driver.until("s.document.points.length === 0")
    page.click("#undo")
    driver.until("s.document.points.length === 12")

    page.keyboard.down("Shift")
    drag(driver, (2, 2), (50, 20))
    page.keyboard.up("Shift")
    inside = [p for p in driver.points() if 2 < p["x"] < 50 and 2 < p["y"] < 20]
    assert len(inside) > 1
    driver.has(f"{len(inside)} selected", "#bulk-count")
    driver.press("Delete")
    driver.until("s.document.points.length === given", 12 - len(inside))

    driver.press("b")
    drag(driver, (5, 5), (25, 15))
    driver.has("1 point", "#fill-count")
    driver.press("Escape", "p", "Escape")

    aim = (70.37, 21.81)
    page.mouse.move(*driver.on_screen(*aim))
    before = driver.on_screen(*aim)
    for _ in range(6):
        page.mouse.wheel(0, -150)
    page.wait_for_timeout(100)
    assert driver.on_screen(*aim) == pytest.approx(before, abs=0.01)
    page.click("[data-tool=place]")
    page.mouse.click(*driver.on_screen(*aim))
    driver.until("Math.abs(s.document.points.at(-1).x - given) < 0.5", aim[0])
    last = driver.points()[-1]
    assert (last["x"], last["y"]) == pytest.approx(aim, abs=0.002)

    page.mouse.move(600, 565)  # over the ruler
    page.mouse.wheel(0, 100)
    page.wait_for_function("() => document.getElementById('frame-number').value === '1'")
    page.mouse.click(*driver.on_screen(*aim), button="right")
    page.wait_for_selector("#menu [role=menuitem]:focus")
    driver.press("Escape")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def drag(driver: Driver, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag the mouse from one position of the video to another."""
    driver.page.mouse.move(*driver.on_screen(*start))
    driver.page.mouse.down()
    driver.page.mouse.move(*driver.on_screen(*end), steps=3)
    driver.page.mouse.up()
