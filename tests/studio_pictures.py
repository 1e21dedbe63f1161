"""Makes the pictures of docs/studio.md: python -m tests.studio_pictures.

The studio opens videos/demo.mp4 in a folder of its own, a browser is driven through the two minutes
of that page, and what it shows is kept as docs/studio-<name>.webp. It takes some minutes and needs
Playwright and Chromium.
"""

from __future__ import annotations

import io
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.studio_browser import Driver, Studio

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FINE = 1.5
"""Pixels of a picture to a pixel of the page."""
QUALITY = 82


def keep(page: Page, name: str) -> None:
    """Keep what a page shows."""
    page.wait_for_timeout(500)
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.save(DOCS / f"studio-{name}.webp", quality=QUALITY, method=6)
    print(f"studio-{name}.webp", file=sys.stderr)


def truth() -> list[list[tuple[float, float]]]:
    """Where the points are in each frame, px: eight of those that are seen in the first one."""
    with np.load(ROOT / "videos" / "demo.npz") as known:
        seen = np.flatnonzero(known["visible"][:, 0])
        chosen = seen[np.linspace(4, len(seen) - 5, 8).round().astype(int)]
        return [[(float(x), float(y)) for x, y in known["tracks"][k]] for k in chosen]


def placed(driver: Driver) -> None:
    """Points are clicked, and the last one is being aimed at."""
    *first, last = (way[0] for way in truth())
    for x, y in first:
        driver.page.mouse.click(*driver.on_screen(x, y))
    driver.until("s.document.points.length === given", len(first))
    driver.page.mouse.move(*driver.on_screen(*last))
    keep(driver.page, "place")
    driver.page.mouse.click(*driver.on_screen(*last))


def fitted(driver: Driver) -> None:
    """The tracker learns; a preview is there."""
    driver.press("v", "f")
    driver.until("s.fit.preview && s.fit.step > 100 && Object.keys(s.versions).length > 7")
    driver.page.mouse.move(400, 620)
    driver.press(*["ArrowRight"] * 12)
    keep(driver.page, "fit")
    driver.until("s.fit.status === 'done' && s.job === null")


def looked_at(driver: Driver) -> None:
    """Trails and lanes, and then where a point is found."""
    page = driver.page
    page.click("#tab-look")
    page.locator("#points .point").nth(4).click()
    keep(page, "look")
    driver.press("m")
    page.wait_for_timeout(3000)
    keep(page, "map")
    driver.press("m")


def astray(driver: Driver) -> tuple[int, int]:
    """Go to the unsure frame, of those that N leads to, that is furthest from the truth."""
    page = driver.page
    found = {}
    for presses in range(int((page.text_content("#unsure-count") or "0").split()[0])):
        driver.press("n")
        page.wait_for_timeout(200)
        id = int((page.get_attribute("#points", "aria-activedescendant") or "")[4:])
        t = int(page.input_value("#frame-number"))
        (track,) = driver.ask(f"/tracks?ids={id}")["tracks"]
        away = np.hypot(*np.subtract(track["xy"][t], truth()[id][t]))
        found[presses] = (float(away), id, t)
    furthest = max(found, key=lambda presses: found[presses])
    driver.press(*["n"] * (furthest + 1))
    page.wait_for_timeout(300)
    return found[furthest][1:]


def mended(driver: Driver) -> None:
    """A point is dragged to where it belongs, beside the way it went before."""
    page = driver.page
    page.click("#tab-mend")
    driver.press("c")
    chosen, t = astray(driver)
    (track,) = driver.ask(f"/tracks?ids={chosen}")["tracks"]
    page.mouse.move(*driver.on_screen(*track["xy"][t]))
    page.mouse.down()
    page.mouse.move(*driver.on_screen(*truth()[chosen][t]), steps=6)
    page.mouse.up()
    driver.until("s.versions[given[0]] > given[1]", [chosen, track["version"]])
    page.click("#tab-curves")
    page.mouse.move(400, 600)
    keep(page, "mend")
    page.click("#tab-lanes")
    driver.press("c")


def at_night(driver: Driver) -> None:
    """The same in the dark, with what can be taken away."""
    page = driver.page
    page.click("#studio button.theme")
    page.click("#tab-take")
    driver.press("Home", *["ArrowRight"] * 9)
    keep(page, "dark")


def main() -> None:
    """Make all six pictures."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as player:
        folder = Path(name)
        shutil.copy(ROOT / "videos" / "demo.mp4", folder)
        studio = Studio(folder, "demo.mp4")
        browser = player.chromium.launch(executable_path=shutil.which("chromium"))
        driver = Driver(browser, studio.address, device_scale_factor=FINE)
        driver.is_open()
        for part in (placed, fitted, looked_at, mended, at_night):
            part(driver)
        browser.close()
        studio.end(signal.SIGINT)


if __name__ == "__main__":
    main()
