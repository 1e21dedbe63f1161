"""A studio that runs, and a browser that is driven through its page."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent
LINE = "from dinotrack.__main__ import entry; entry()"
"""The command line as it is."""
PATIENCE = 4000
"""Looks at the state, 50 ms apart, until something should have happened."""


class Studio:
    """A running `dinotrack studio`, and where it is."""

    def __init__(self, folder: Path, *words: str, port: int = 0, line: str = LINE) -> None:
        """Start it in a folder, with further words of the command, and a line that runs it."""
        options = ["--runs", "runs", "--port", str(port), "--no-browser"]
        env = os.environ | {"PYTHONPATH": str(ROOT), "DINOTRACK_CACHE": str(folder / "cache")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", line, "studio", *words, *options],
            cwd=folder,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", told)
        assert found, told
        self.address, self.port = found[0], int(found[1])

    def end(self, how: signal.Signals) -> None:
        """Send it a signal and wait until it is gone."""
        self.process.send_signal(how)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Driver:
    """A page of the studio, and the hand that drives it."""

    def __init__(self, browser: Browser, address: str, **how: Any) -> None:
        size: Any = {"width": 1280, "height": 720}
        self.page: Page = browser.new_page(viewport=size, color_scheme="light", **how)
        self.page.set_default_timeout(30_000)
        self.complaints: list[str] = []
        self.page.on("console", lambda said: said.type == "error" and self._note(said.text))
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.goto(address)

    def _note(self, text: str) -> None:
        self.complaints.append(text)

    def ask(self, path: str = "") -> Any:
        """What the server says of the project that is open."""
        id = self.page.url.partition("#")[2]
        return self.page.evaluate(
            "path => fetch(path).then((answer) => answer.json())", f"/api/projects/{id}{path}"
        )

    def points(self) -> list[dict[str, Any]]:
        """The points of the document."""
        found: list[dict[str, Any]] = self.ask()["document"]["points"]
        return found

    def on_screen(self, x: float, y: float) -> tuple[float, float]:
        """Where a position of the video lies in the window."""
        frame = self.page.locator("#frame")
        box, told = frame.bounding_box(), frame.get_attribute("data-view")
        assert box is not None
        assert told is not None
        scale, left, top = map(float, told.split())
        return box["x"] + left + (x + 0.5) * scale, box["y"] + top + (y + 0.5) * scale

    def is_open(self) -> None:
        """Wait until a project is open."""
        self.page.wait_for_selector("#frame[data-view]")

    def has_tracks(self) -> None:
        """Wait until the page has tracks."""
        self.page.wait_for_selector("#take-tracks:enabled", state="attached")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def has(self, text: str, where: str) -> None:
        """Wait until some element says something."""
        self.page.locator(where).filter(has_text=text).wait_for()

    def until(self, holds: str, given: object = None) -> None:
        """Wait until something holds of the state that the server tells, called `s`."""
        id = self.page.url.partition("#")[2]
        script = f"""([id, given]) => fetch(`/api/projects/${{id}}`)
            .then((answer) => answer.json()).then((s) => {holds})"""
        for _ in range(PATIENCE):
            if self.page.evaluate(script, [id, given]):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"it never came to be that {holds}")

    def tab_to(self, selector: str) -> None:
        """Press Tab until an element has the focus."""
        for _ in range(80):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("what => document.activeElement.matches(what)", selector):
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    def lane(self, row: int, t: int, frames: int) -> tuple[int, ...]:
        """The colour of a lane in one of so many frames, (R, G, B)."""
        script = """([row, t, frames]) => {
            const canvas = document.getElementById("lanes-canvas");
            const ratio = canvas.width / canvas.clientWidth;
            const wide = (canvas.clientWidth - 132 - 10) / frames;
            const at = [(132 + (t + 0.2) * wide) * ratio, (row * 20 + 10) * ratio];
            return [...canvas.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
        }"""
        found: list[int] = self.page.evaluate(script, [row, t, frames])
        return tuple(found)
