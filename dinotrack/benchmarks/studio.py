"""How soon the studio answers: corrections and new points, amid other work too, the first preview
of a fit, stop and Teach. It works on a copy of a run."""

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dinotrack.benchmarks.machine import cache_in
from dinotrack.benchmarks.report import Say
from dinotrack.points import grid_queries
from dinotrack.studio.document import Document, Lesson, Point
from dinotrack.studio.engine import FitWishes
from dinotrack.studio.session import Session
from dinotrack.terminal import outputs, parsing, requests
from dinotrack.video import Video, read_video

HELP = "how soon the studio answers"
TIMES = 20
"""Of each answer."""
GRID = 16
"""Points along each side of the grid that is tracked meanwhile."""
OFF = 6.0
"""Px from its track, about: where a point is corrected to."""
PATIENCE = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    add = parser.add_argument
    of = "a finished run"
    add("--run", dest="of", type=parsing.folder, required=True, metavar="DIR", help=of)
    add("--video", type=parsing.path, metavar="VIDEO", help="its video (where it lay)")
    add(
        "--no-fit", action="store_true", help="leave out what has to fit again, which takes minutes"
    )


def run(args: argparse.Namespace, say: Say) -> None:
    """Measure, and say each answer's median and worst."""
    video = read_video(args.video or requests.record_in(args.of)["video"]["path"])
    frames, (height, width) = len(video.frames), video.size
    say(f"{frames} frames of {width} x {height}, {os.cpu_count()} cores, in seconds")
    with _opened(video, args.of / outputs.MODEL) as desk:
        for name, measure in ANSWERS.items():
            _tell(say, name, measure(desk))
    if not args.no_fit:
        with tempfile.TemporaryDirectory() as empty, cache_in(Path(empty)), _opened(video) as desk:
            for name, seconds in _fit(desk).items():
                _tell(say, name, seconds)


def _tell(say: Say, name: str, seconds: Sequence[float]) -> None:
    middle, worst = statistics.median(seconds), max(seconds)
    count = "once" if len(seconds) == 1 else f"worst of {len(seconds)} {worst:.2f}"
    say(f"{name}: {middle:.2f} ({count})")


@dataclass
class Desk:
    """A session, and the document that is shown to it."""

    session: Session
    video: Video
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    document: Document = field(default_factory=Document)
    events: list[tuple[float, str, Any]] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def hear(self, event: str, data: Any) -> None:
        """What the session publishes."""
        with self.came:
            self.events.append((time.perf_counter(), event, data))
            self.came.notify_all()

    def wait(self, event: str, holds: Callable[[Any], bool], since: int) -> float:
        """When an event came, since there were so many, of which something holds."""

        def times() -> list[float]:
            later = self.events[since:]
            return [at for at, name, data in later if name == event and holds(data)]

        with self.came:
            if not self.came.wait_for(times, PATIENCE):
                raise TimeoutError(f"no {event} came")
            return times()[0]

    def show(self, points: Sequence[Point], lessons: tuple[Lesson, ...] = ()) -> None:
        """Show a document of these points."""
        self.document = Document(tuple(points), lessons)
        self.session.show(self.document)

    def change(self, point: Point) -> None:
        """Show a point in the place of the one of the same id, or as a new one."""
        others = [other for other in self.document.points if other.id != point.id]
        self.show((*others, point), self.document.lessons)

    def answered(self, point: Point) -> float:
        """Seconds until a point that is changed, or new, has its track."""
        begun = time.perf_counter()
        self.change(point)
        self.session.tracked([point.id])
        return time.perf_counter() - begun

    def somewhere(self, number: int) -> Point:
        """A new point."""
        height, width = self.video.size
        t = int(self.rng.integers(len(self.video.frames)))
        x, y = self.rng.uniform(0.1, 0.9, 2) * (width, height)
        return Point(number, t, float(x), float(y))

    def corrected(self, point: Point) -> Point:
        """The same point, corrected in some frame by a few px."""
        t = int(self.rng.integers(len(self.video.frames)))
        if t == point.t:
            t = t - 1 if t else 1
        height, width = self.video.size
        places = self.session.tracked([point.id]).xy[0]
        x, y = (places[t] + self.rng.normal(0, OFF, 2)).clip(0, (width - 1, height - 1))
        return replace(point, corrections=((t, float(x), float(y)),))


@contextmanager
def _opened(video: Video, model: Path | None = None) -> Iterator[Desk]:
    """A project of its own, with a copy of a model or none."""
    heard: list[Desk] = []
    with tempfile.TemporaryDirectory() as folder:
        if model is not None:
            shutil.copytree(model, Path(folder) / outputs.MODEL)
        session = Session(Path(folder), video, lambda *told: heard[0].hear(*told))
        heard.append(desk := Desk(session, video))
        try:
            yield desk
        finally:
            session.close()


def new_points(desk: Desk) -> list[float]:
    """New points, one after the other."""
    desk.answered(desk.somewhere(0))  # after the fit has been loaded
    return [desk.answered(desk.somewhere(number)) for number in range(1, TIMES + 1)]


def corrections(desk: Desk) -> list[float]:
    """Corrections of points that have tracks."""
    points = desk.document.points[:TIMES]
    return [desk.answered(desk.corrected(point)) for point in points]


def drags(desk: Desk) -> list[float]:
    """From the last of a burst of corrections of one point to its track."""
    seconds = []
    for point in desk.document.points[:TIMES]:
        last = desk.corrected(point)
        ((t, x, y),) = last.corrections
        for k in range(10, 0, -1):
            desk.change(replace(last, corrections=((t, max(x - k / 4, 0.0), y),)))
            time.sleep(0.03)
        seconds.append(desk.answered(last))
    return seconds


def corrections_amid_tracking(desk: Desk) -> list[float]:
    """Corrections while a grid of points is tracked for the first time."""
    points = desk.document.points
    rows = grid_queries(GRID, desk.video.size, 0).tolist()
    mended = [desk.corrected(point) for point in points[:TIMES]]
    grid = (Point(1000 + n, int(t), x, y) for n, (t, x, y) in enumerate(rows))
    desk.show((*points, *grid))
    return [desk.answered(point) for point in mended]


def whole_grid(desk: Desk) -> list[float]:
    """Until all points have tracks again once a point's tracks are those of another fit."""
    desk.session.tracked()
    since = len(desk.events)
    desk.session.fit(FitWishes())
    begun = desk.wait("fit", lambda fit: fit["status"] == "done", since)
    desk.session.tracked()
    return [time.perf_counter() - begun]


def lessons(desk: Desk) -> list[float]:
    """From Teach to the first track of the taught fit."""
    mended = tuple(point.placed for point in desk.document.points if point.corrections)
    return [_relearnt(desk, (Lesson(mended),))]


def undone_lessons(desk: Desk) -> list[float]:
    """From the undo of Teach to the first track of the fit before."""
    if not desk.document.lessons:
        lessons(desk)
    return [_relearnt(desk, ())]


def _relearnt(desk: Desk, taught: tuple[Lesson, ...]) -> float:
    desk.session.tracked()
    begun, since = time.perf_counter(), len(desk.events)
    desk.show(desk.document.points, taught)
    return desk.wait("tracks", lambda told: True, since) - begun


ANSWERS: dict[str, Callable[[Desk], list[float]]] = {
    "new point": new_points,
    "correction": corrections,
    "last of a burst of drags": drags,
    "correction amid the tracking of 256 points": corrections_amid_tracking,
    "tracks of all of these points": whole_grid,
    "teach": lessons,
    "undo teach": undone_lessons,
}
"""What is asked of a project that is fitted -> the seconds of its answers."""


def _fit(desk: Desk) -> dict[str, list[float]]:
    """A fit from nothing and with an empty cache, which is stopped after its second preview."""
    desk.show([desk.somewhere(number) for number in range(TIMES)])
    begun = time.perf_counter()
    desk.session.fit(FitWishes())
    first = desk.wait("tracks", lambda told: True, 0)
    trained = desk.wait("fit", lambda fit: fit["step"] > 0, 0)
    since = len(desk.events)
    second = desk.wait("tracks", lambda told: True, since)
    desk.session.stop()
    asked, since = time.perf_counter(), len(desk.events)
    stopped = desk.wait("fit", lambda fit: fit["status"] == "stopped", since)
    return {
        "first preview, from an empty cache": [first - begun],
        "first step": [trained - begun],
        "second preview": [second - begun],
        "stop": [stopped - asked],
    }
