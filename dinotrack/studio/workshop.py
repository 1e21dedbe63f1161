"""One thread for each open project, which does all of the method's work on its video.

There is no queue that could hold stale work. The thread compares what is wanted with what there is,
and does what matters most: a fit that was asked for, the points that were edited last, lessons, and
at last all tracks that are of an older fit. Long work lets edited points be tracked in between,
whenever it tells how far it is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dinotrack import api
from dinotrack.errors import DinotrackWarning, InputError, on_command_line
from dinotrack.fitted import Fitted
from dinotrack.studio.board import Board, Current
from dinotrack.studio.fits import Fits, settings_json
from dinotrack.studio.following import Group, follow
from dinotrack.studio.hearing import heard
from dinotrack.studio.lessons import taught
from dinotrack.studio.status import FitStatus
from dinotrack.video import Video

FIRST_PREVIEW = 4.0
"""Seconds of tracking before the first step of a fit; the points that are left come later."""
LATER_PREVIEW = 1.0
"""The same for each later preview."""
MOST_BROKEN_OFF = 2
"""How often in a row the track of a point is given up for a newer edit of the point. After that it
is finished, so that whoever drags a point without end sees its track move."""

log = logging.getLogger(__name__)


class Stopped(Exception):
    """Work is broken off, as something else matters more."""


class Workshop:
    """The thread of a project."""

    def __init__(self, project: Path, video: Video, board: Board) -> None:
        self.fits = Fits(project)
        self._video = video
        self._board = board
        self._base: Fitted | None = None
        self._previews = 0
        self._broken_off = 0
        self._thread = threading.Thread(target=self._work, name=f"studio {project}", daemon=True)

    def start(self) -> None:
        """Take the fit that is kept, and begin to work."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the work has ended, as is wanted of it."""
        self._thread.join()

    def _work(self) -> None:
        board = self._board
        self._load()
        with board.changed:
            board.is_opening = False
            board.changed.notify_all()
        while True:
            with board.changed:
                while (work := self._next()) is None and not board.is_closing:
                    board.changed.wait()
            if work is None or board.is_closing:
                return
            work()

    def _next(self) -> Callable[[], None] | None:
        """What matters most now; None where all is done."""
        board = self._board
        current = board.current
        if board.wanted is not None:
            return self._fit
        if current is None:
            return None
        if board.edited().points:
            return self._track
        if current.lessons != board.document.lessons:
            return self._teach
        return self._track if board.due(current).points else None

    # --- fits

    def _fit(self) -> None:
        """Fit until the end, or until somebody stops it, and take what was learnt."""
        board = self._board
        with board.changed:
            wanted, board.wanted = board.wanted, None
            places = [[point.t, point.x, point.y] for point in board.document.points]
        assert wanted is not None
        asked = wanted.asked
        self._previews = 0
        try:
            self.fits.make_room(asked, wanted.again)
            with heard(self._on_warning):
                fitted = api.fit(
                    self._video,
                    preset=asked.preset,
                    settings=asked.settings,
                    seed=asked.seed,
                    progress=self._on_fit,
                    folder=asked.folder,
                    preview=self._on_preview,
                    queries=places or None,
                )
            self.fits.settle()
            self._has(fitted, fitted.steps)
        except Stopped:
            self._load()
        except Exception as error:
            self._load(_sentence(error))

    def _load(self, problem: str | None = None) -> None:
        """Take the fit that is kept, if there is one. problem: why the last one failed."""
        board = self._board
        if board.is_closing:
            return
        try:
            self.fits.settle()
            stored = self.fits.stored()
            if stored is None:
                board.set_status(_failed(FitStatus("none", board.status.settings), problem))
                return
            board.set_status(_kept(settings_json(stored.identity.config), stored.step))
            with board.telling("load", self._heed) as progress:
                fitted = api.load(self.fits.folder, self._video, progress=progress)
            self._has(fitted, stored.step, problem)
        except Stopped:
            return
        except Exception as error:
            status = FitStatus("none", board.status.settings, board.status.step)
            board.set_status(_failed(status, problem or _sentence(error)))

    def _has(self, fitted: Fitted, step: int, problem: str | None = None) -> None:
        """Track with a fit that was made or loaded."""
        self._base = fitted
        self._board.take(fitted.at_hand())
        self._board.set_status(_failed(_kept(settings_json(fitted.config), step), problem))

    def _on_fit(self, stage: str, done: int, total: int) -> None:
        """The progress of a fit."""
        board = self._board
        with board.changed:
            board.status = board.status.at(stage, done, total, time.monotonic())
        board.tell_fit(seldom=True)
        self._heed()

    def _on_warning(self, warning: DinotrackWarning) -> None:
        """Tell what goes wrong while a fit is trained, such as a full disk. What is said before, as
        that an unfinished fit goes on, everybody sees."""
        if self._board.status.stage in ("fit", "refine", "focus"):
            self._board.tell_problem(on_command_line(warning))

    def _on_preview(self, fitted: Fitted) -> None:
        """Track with a fit that still goes on, as many points as there is time for."""
        board = self._board
        current = board.take(fitted.at_hand())
        with board.changed:
            board.status = replace(board.status, preview=True, step=fitted.steps)
        board.tell_fit()
        until = time.monotonic() + (LATER_PREVIEW if self._previews else FIRST_PREVIEW)
        self._previews += 1
        while time.monotonic() < until and (group := board.due(current)).points:
            self._track_group(group, current)
            self._check()

    def _teach(self) -> None:
        """Bring the fit to what the document's lessons teach."""
        board = self._board
        lessons = board.document.lessons
        fitted = self._base
        assert fitted is not None

        def heed() -> None:
            if board.document.lessons != lessons:
                raise Stopped
            self._heed()

        try:
            if lessons:
                with board.telling("teach", heed) as progress:
                    fitted = taught(fitted, self.fits.folder, lessons, progress)
            board.take(fitted.at_hand(), lessons)
        except Stopped:
            return
        except Exception as error:
            board.tell_problem(_sentence(error))
            with board.changed:  # so that it is not tried again
                assert board.current is not None
                board.current = replace(board.current, lessons=lessons)

    # --- tracks

    def _track(self) -> None:
        """Track a few points: those of the latest edit, or some whose tracks are of another fit."""
        current = self._board.current
        assert current is not None
        self._track_group(self._board.due(current), current)

    def _track_group(self, group: Group, current: Current) -> None:
        board = self._board
        points = group.points

        def progress(stage: str, done: int, total: int) -> None:
            self._check()
            if len(points) > 1:
                self._attend(group.edit)
            elif not board.is_newest(points[0]) and self._broken_off < MOST_BROKEN_OFF:
                self._broken_off += 1
                raise Stopped

        if not points:
            return
        try:
            tracks = follow(current.fitted, points, progress)
        except Stopped:
            return
        except Exception as error:
            board.refuse(points, current, _sentence(error))
            return
        self._broken_off = 0
        board.put(points, current, tracks)

    def _heed(self) -> None:
        """What long work does now and then."""
        self._check()
        self._attend()

    def _check(self) -> None:
        """Raises Stopped where the work that is done now is not wanted any more."""
        board = self._board
        if board.is_closing or board.wanted is not None or board.status.status == "stopping":
            raise Stopped

    def _attend(self, after: int = 0) -> None:
        """Track a few points that were edited after another edit, amid other work."""
        current = self._board.current
        if current is not None:
            self._track_group(self._board.edited(after), current)


def _kept(settings: dict[str, object], step: int) -> FitStatus:
    """The status of a fit that is kept."""
    finished = step == settings["steps"]
    return FitStatus("done" if finished else "stopped", settings, step, preview=not finished)


def _failed(status: FitStatus, problem: str | None) -> FitStatus:
    """The same status, but failed where there is a problem."""
    return status if problem is None else replace(status, status="failed", problem=problem)


def _sentence(error: Exception) -> str:
    """What a page tells of an error. Our own bugs go into the log."""
    if isinstance(error, InputError):
        return on_command_line(error)
    log.error("the studio's work failed", exc_info=error)
    kind = type(error).__name__
    return f"something failed that should not ({kind}: {error}); the terminal tells more"
