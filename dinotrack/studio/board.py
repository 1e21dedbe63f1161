"""What is wanted of a project's video, and what there is: all that threads of the studio share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from dinotrack.fitted import Fitted
from dinotrack.progress import Progress
from dinotrack.studio.document import Conflict, Document, Lesson, Placed
from dinotrack.studio.engine import Publish
from dinotrack.studio.fits import Asked, settings_json
from dinotrack.studio.following import MANY, Followed, Following, Group
from dinotrack.studio.status import FitStatus, Job, Seldom
from dinotrack.tracks import Tracks

TOLD_SECONDS = 0.2
"""Between two events that tell of the same kind of progress."""


@dataclass(frozen=True)
class Current:
    """What points are tracked with."""

    fitted: Fitted
    number: int
    """Counts all that there were."""
    lessons: tuple[Lesson, ...] = ()
    """What it was taught."""


@dataclass(frozen=True)
class Wanted:
    """A fit that somebody asked for."""

    asked: Asked
    again: bool


class Board:
    """The state of the work on one video. Every method may be called from any thread."""

    def __init__(self, publish: Publish) -> None:
        self.changed = threading.Condition()
        """Guards all that follows, and wakes up whoever waits for it."""
        self.document = Document()
        self.status = FitStatus()
        self.current: Current | None = None
        self.wanted: Wanted | None = None
        self.asked: Asked | None = None
        """What the fit that is under way was asked for."""
        self.is_opening = True
        self.is_closing = False
        self._job: Job | None = None
        self._following = Following()
        self._waiting = 0
        self._publish = publish
        self._is_time = {kind: Seldom(TOLD_SECONDS) for kind in ("fit", "job", "tracks")}

    # --- what is wanted

    def show(self, document: Document) -> None:
        """Follow a document from now on."""
        with self.changed:
            self.document = document
            self._following.show(document)
            self.changed.notify_all()

    def want(self, asked: Asked, again: bool) -> None:
        """Want a fit. Raises Conflict where one is under way."""
        with self.changed:
            if self.status.is_under_way:
                raise Conflict("a fit is under way; stop it first")
            self.wanted = Wanted(asked, again)
            self.asked = asked
            step = 0 if again else self.status.step
            self.status = FitStatus("running", settings_json(asked.config), step)
            self.changed.notify_all()
        self.tell_fit()

    def stop(self) -> None:
        """Want a fit that is under way to stop."""
        with self.changed:
            if self.status.status != "running":
                return
            self.status = replace(self.status, status="stopping")
            self.changed.notify_all()
        self.tell_fit()

    def close(self) -> None:
        """Want all work to end."""
        with self.changed:
            self.is_closing = True
            self.changed.notify_all()

    # --- what there is

    def as_json(self) -> dict[str, object]:
        """All of it, as it travels."""
        with self.changed:
            return {
                "fit": self.status.as_json(time.monotonic()),
                "job": None if self._job is None else self._job.as_json(),
                "versions": self._following.versions(),
            }

    def followed(self, ids: Sequence[int] | None) -> list[Followed]:
        """The tracks that are there, of some points or of all."""
        with self.changed:
            return self._following.followed(ids)

    def settled(self, ids: Sequence[int] | None) -> tuple[Document, list[Followed]]:
        """The tracks of some points or of all once they are as they should be, and the document
        that they are of.

        Raises Conflict where they won't be so soon.
        """
        with self.changed:
            while True:
                chosen = [p.id for p in self.document.points if ids is None or p.id in ids]
                self._refuse(chosen)
                if self._are_settled(chosen):
                    return self.document, self._following.followed(chosen)
                self.changed.wait()

    def _are_settled(self, chosen: Sequence[int]) -> bool:
        """Whether some points are tracked with the fit that the document asks for."""
        current = self.current
        if current is None or current.lessons != self.document.lessons:
            return False
        return not self._following.stale(chosen, current.number)

    def _refuse(self, chosen: Sequence[int]) -> None:
        """Raises Conflict where nobody works on the tracks of some points."""
        current = self.current
        if self.is_closing:
            raise Conflict("the project is being closed; open it again")
        if not chosen:
            raise Conflict("there are no points; place one first")
        if self.status.is_under_way:
            raise Conflict("a fit is under way; wait for its end, or stop it first")
        if current is None and not self.is_opening:
            raise Conflict("the video is not fitted yet; press Fit first")
        if current is not None and self._following.are_refused(chosen, current.number):
            raise Conflict("some of the points could not be tracked; move them, or fit again")

    # --- what changes

    def set_status(self, status: FitStatus) -> None:
        """Note how the fit is, unless another one is wanted by now, which counts as running."""
        with self.changed:
            if self.wanted is None:
                self.status = status
                self.asked = self.asked if status.is_under_way else None
            self.changed.notify_all()
        self.tell_fit()

    def take(self, fitted: Fitted, lessons: tuple[Lesson, ...] = ()) -> Current:
        """Track with another fit from now on."""
        with self.changed:
            number = 1 if self.current is None else self.current.number + 1
            self.current = Current(fitted, number, lessons)
            self._waiting = 0
            self.changed.notify_all()
            return self.current

    def due(self, current: Current) -> Group:
        """The points to track next, as `Following.due`."""
        with self.changed:
            return self._following.due(current.number)

    def edited(self, after: int = 0) -> Group:
        """The points that were edited last, as `Following.edited`."""
        with self.changed:
            return self._following.edited(after)

    def is_newest(self, point: Placed) -> bool:
        """Whether a point is still where it was."""
        with self.changed:
            return self._following.is_newest(point)

    def put(self, points: Sequence[Placed], current: Current, tracks: Sequence[Tracks]) -> None:
        """Note the tracks of some points."""
        with self.changed:
            for point, track in zip(points, tracks, strict=True):
                self._following.put(point, current.number, track)
            left = len(self._following.stale(self._following.ids, current.number))
            self.changed.notify_all()
        if not left or len(points) == 1 or self._is_time["tracks"]():
            self._publish("tracks", {"versions": self.as_json()["versions"]})
        self._tell_left(left)

    def refuse(self, points: Sequence[Placed], current: Current, problem: str) -> None:
        """Note that a fit can't track some points, and tell why."""
        with self.changed:
            self._following.refuse(points, current.number)
            self.changed.notify_all()
        self.tell_problem(problem)

    # --- what is told

    def tell_fit(self, seldom: bool = False) -> None:
        """Publish how far the fit is. seldom: unless that was told just now."""
        if not seldom or self._is_time["fit"]():
            self._publish("fit", self.status.as_json(time.monotonic()))

    def tell_problem(self, problem: str) -> None:
        """Publish what went wrong."""
        self._publish("problem", {"problem": problem})

    @contextmanager
    def telling(self, what: str, heed: Callable[[], None] = lambda: None) -> Iterator[Progress]:
        """A job, from its beginning to its end: its progress.

        heed: what is called each time that it is told.
        """

        def progress(stage: str, done: int, total: int) -> None:
            heed()
            self._set_job(Job(what, done, total))

        self._set_job(Job(what, 0, 0), seldom=False)
        try:
            yield progress
        finally:
            self._set_job(None, seldom=False)

    def _tell_left(self, left: int) -> None:
        """A job of so many points, if they take several groups."""
        self._waiting = max(self._waiting, left)
        if not left:
            self._waiting = 0
            self._set_job(None, seldom=False)
        elif self._waiting > MANY:
            self._set_job(Job("track", self._waiting - left, self._waiting))

    def _set_job(self, job: Job | None, seldom: bool = True) -> None:
        with self.changed:
            was, self._job = self._job, job
        if was != job and (not seldom or self._is_time["job"]()):
            self._publish("job", None if job is None else job.as_json())
