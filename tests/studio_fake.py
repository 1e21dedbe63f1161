"""A studio for tests: runs of a tiny video, and a session that needs no networks.

The session is as quick as its documents: a point stays where it was placed, and a fit is done as
soon as it is begun.
"""

from __future__ import annotations

import io
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from dinotrack.studio.app import make_app
from dinotrack.studio.document import Conflict, Document
from dinotrack.studio.engine import ExportWishes, FitWishes, Publish
from dinotrack.studio.events import Hub
from dinotrack.studio.projects import Project
from dinotrack.studio.security import Door
from dinotrack.studio.workspace import Limits, Workspace
from dinotrack.video import Video

FRAMES, WIDTH, HEIGHT = 6, 16, 12
OURS = {"x-dinotrack": "1"}
"""The header that our page sends."""
ADDRESS = "http://127.0.0.1:8765"


class FakeSession:
    """Stands in for a session, as `engine.Engine` says."""

    def __init__(self, folder: Path, video: Video, publish: Publish) -> None:
        self.folder = folder
        self.video = video
        self.publish = publish
        self.shown: list[Document] = []
        self.fits: list[FitWishes] = []
        self.status_of_fit = "none"
        self.is_closed = False
        self.taken: list[Path] = []
        self.may_go_on = threading.Event()
        """Cleared, pictures and exports wait."""
        self.may_go_on.set()

    def show(self, document: Document) -> None:
        assert not self.is_closed
        self.shown.append(document)
        self.publish("tracks", {"versions": self.versions})

    @property
    def versions(self) -> dict[str, int]:
        """A track is as new as the last document."""
        return {str(point.id): len(self.shown) for point in self.shown[-1].points}

    def fit(self, wishes: FitWishes) -> None:
        self.fits.append(wishes)
        self.status_of_fit = "done"
        self.publish("fit", self.status()["fit"])

    def stop(self) -> None:
        self.status_of_fit = "stopped"

    def status(self) -> dict[str, Any]:
        settings = {"preset": "fast", "backbone": "none", "flow": "dis", "steps": 10}
        fit = {
            "status": self.status_of_fit,
            "stage": None,
            "done": 0,
            "total": 0,
            "seconds_left": None,
            "step": 0,
            "steps": 10,
            "settings": settings,
            "problem": None,
            "preview": False,
        }
        return {"fit": fit, "job": None, "versions": self.versions}

    def tracks(self, ids: Sequence[int] | None) -> list[dict[str, Any]]:
        return [
            {
                "id": point.id,
                "version": len(self.shown),
                "xy": [[point.x, point.y]] * FRAMES,
                "visible": [1] * FRAMES,
                "confidence": [1.0] * FRAMES,
            }
            for point in self.shown[-1].points
            if ids is None or point.id in ids
        ]

    def losses(self) -> dict[str, list[float]]:
        return {"flow": [2.0, 1.0]}

    def picture(self, kind: str, t: int, point: int | None) -> bytes:
        self._need_fit()
        return picture(t)

    def frame(self, t: int) -> bytes:
        return picture(t)

    def export(self, format: str, wishes: ExportWishes) -> Path:
        self._need_fit()
        return self._file("tracks", repr((format, wishes)))

    def overlay(self, style: str) -> Path:
        self._need_fit()
        return self._file("overlay.mp4", style)

    def report(self) -> Path:
        self._need_fit()
        return self._file("report.html", "<p>report</p>")

    def close(self) -> None:
        self.is_closed = True
        self.may_go_on.set()

    def _need_fit(self) -> None:
        assert self.may_go_on.wait(20)
        if self.is_closed:
            raise Conflict("the project is being closed")
        if self.status_of_fit == "none":
            raise Conflict("the video is not fitted yet; press Fit")

    def _file(self, name: str, text: str) -> Path:
        path = Path(tempfile.mkdtemp(dir=self.folder)) / name
        path.write_text(text)
        self.taken.append(path)
        return path


def picture(t: int) -> bytes:
    """A frame of the tiny video as JPEG."""
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (40 * t, 0, 0)).save(stream, "JPEG")
    return stream.getvalue()


def write_frames(folder: Path, count: int = FRAMES) -> Path:
    """A tiny video, as a folder of pictures."""
    folder.mkdir(parents=True)
    for t in range(count):
        pixels = np.full((HEIGHT, WIDTH, 3), 40 * t, np.uint8)
        Image.fromarray(pixels).save(folder / f"{t}.png")
    return folder


def gif(frames: int = FRAMES) -> bytes:
    """The tiny video as a file."""
    stream = io.BytesIO()
    pictures = [Image.new("L", (WIDTH, HEIGHT), 40 * t) for t in range(frames)]
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], duration=40)
    return stream.getvalue()


def write_run(runs: Path, name: str, video: Path) -> Path:
    """The folder of a run, as far as the studio looks at it."""
    run = runs / name
    run.mkdir(parents=True)
    told = {"path": str(video), "frames": FRAMES, "width": WIDTH, "height": HEIGHT}
    (run / "run.json").write_text(json.dumps({"video": told, "points": 0}))
    return run


class Studio:
    """A studio with the run "clip", and a browser that asks it."""

    def __init__(self, folder: Path, door: Door, limits: Limits) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.video = write_frames(folder / "video" / "frames")
        self.run = write_run(self.runs, "clip", self.video)
        self.hub = Hub()
        self.sessions: list[FakeSession] = []
        self.workspace = Workspace(self.runs, self._session, self.hub, limits)
        self.app = make_app(self.workspace, door)
        self.browser = TestClient(self.app, base_url=ADDRESS, headers=OURS)
        self.id = Project(self.run).id
        self.at = f"/api/projects/{self.id}"

    @property
    def session(self) -> FakeSession:
        """The session that was made last."""
        return self.sessions[-1]

    def get(self, path: str, **more: Any) -> Any:
        """What a GET of something of the run gives."""
        return self.browser.get(f"{self.at}/{path}" if path else self.at, **more)

    def post(self, path: str, body: Any = None) -> Any:
        """What a POST to something of the run gives."""
        return self.browser.post(f"{self.at}/{path}", json={} if body is None else body)

    def edit(self, kind: str, **edit: Any) -> Any:
        """Make an edit, which has to apply; the answer."""
        answer = self.post("edits", {"kind": kind, **edit})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _session(self, folder: Path, video: Video, publish: Publish) -> FakeSession:
        self.sessions.append(FakeSession(folder, video, publish))
        return self.sessions[-1]


@contextmanager
def studio_in(
    folder: Path, door: Door | None = None, limits: Limits | None = None
) -> Iterator[Studio]:
    """A studio that is closed at the end."""
    studio = Studio(folder, door or Door(), limits or Limits())
    with studio.browser:
        try:
            yield studio
        finally:
            studio.workspace.close()
    assert all(session.is_closed for session in studio.sessions)
