"""Open projects: the document, its journal and the session of each, and who is told of changes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinotrack.errors import InputError
from dinotrack.files import make_folder
from dinotrack.locks import locked
from dinotrack.progress import Progress, silent
from dinotrack.studio import projects
from dinotrack.studio.beginning import beginning_of, check_belong
from dinotrack.studio.document import Conflict
from dinotrack.studio.engine import Engine, MakeEngine
from dinotrack.studio.events import Hub
from dinotrack.studio.history import History
from dinotrack.studio.journal import Journal, begin_journal
from dinotrack.studio.projects import Project
from dinotrack.studio.shapes import Shape, Teach
from dinotrack.terminal import outputs
from dinotrack.video import Video, read_video

MOST_OPEN = 4
"""Projects at a time; each of them may hold a fit in memory."""
TAUGHT_AFTER = ("done", "stopped")
"""The states of a fit that can be taught."""


@dataclass(frozen=True)
class Limits:
    """How large an uploaded video may be."""

    bytes: int = 2000 << 20
    frames: int = 2000


class Opened:
    """A project that is open: one document for all who look at it.

    Changes are made one after the other, from any thread, and are on the disk before anybody hears
    of them.
    """

    def __init__(self, project: Project, video: Video, make: MakeEngine, hub: Hub) -> None:
        """Raises InputError where the journal can't be read or begun."""
        self.project = project
        self.video = video
        self._hub = hub
        self._lock = threading.RLock()
        if not project.journal.exists():
            begin_journal(project.journal, beginning_of(project, video))
        self._journal = Journal(project.journal)
        try:
            check_belong(project, self._journal.beginning.clip, video)
            self.engine: Engine = make(project.folder, video, self._publish)
            self.engine.show(self._journal.history.document)
        except BaseException:
            self._journal.close()
            raise

    @property
    def history(self) -> History:
        """The document as it is now, and its past."""
        return self._journal.history

    def edit(self, edit: Shape) -> dict[str, Any]:
        """Make an edit: the new revision, and the ids of new points. Raises InputError."""
        if isinstance(edit, Teach) and self.engine.status()["fit"]["status"] not in TAUGHT_AFTER:
            raise Conflict("there is no fit to teach yet; fit the video first, and let it end")
        with self._lock:
            first = self.history.document.next_id
            history = self._changed(lambda: self._journal.edit(edit))
            return {
                "revision": history.revision,
                "ids": list(range(first, history.document.next_id)),
            }

    def undo(self) -> dict[str, Any]:
        """Take the last step back. Raises InputError."""
        return {"revision": self._changed(self._journal.undo).revision}

    def redo(self) -> dict[str, Any]:
        """Make a step again. Raises InputError."""
        return {"revision": self._changed(self._journal.redo).revision}

    def state(self) -> dict[str, Any]:
        """All that a page has to know."""
        height, width = self.video.size
        video = {
            "frames": len(self.video.frames),
            "width": width,
            "height": height,
            "fps": self.video.fps,
        }
        named = {"id": self.project.id, "name": self.project.name, "video": video}
        with self._lock:
            return named | self._document() | self.engine.status()

    def ids_of(self, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
        """The ids that are asked for, by default all. Raises Conflict where one is not there."""
        there = [point.id for point in self.history.document.points]
        if wanted is None:
            return tuple(there)
        unknown = sorted(set(wanted) - set(there))
        if unknown:
            raise Conflict(f"there is no point {unknown[0]}; it may have been removed")
        return wanted

    @property
    def is_busy(self) -> bool:
        """Whether the session does something that somebody waits for."""
        status = self.engine.status()
        return status["job"] is not None or status["fit"]["status"] in ("running", "stopping")

    def close(self) -> None:
        """End the work, and keep what an unfinished fit has learnt."""
        try:
            self.engine.close()
        finally:
            with self._lock:
                self._journal.close()

    def _changed(self, change: Callable[[], History]) -> History:
        with self._lock:
            before = self.history
            history = change()
            if history is not before:
                self.engine.show(history.document)
                self._publish("document", self._document())
            return history

    def _document(self) -> dict[str, Any]:
        history = self.history
        return {
            "revision": history.revision,
            "document": history.document.as_json(),
            "undo": history.undo,
            "redo": history.redo,
        }

    def _publish(self, event: str, data: dict[str, Any] | None) -> None:
        self._hub.publish(self.project.id, event, data)


@dataclass(frozen=True)
class Held:
    """An open project and the lock of its folder."""

    opened: Opened
    lock: contextlib.ExitStack

    def close(self) -> None:
        """Close the project, and let others have its folder."""
        with self.lock:
            self.opened.close()


class Workspace:
    """All projects that the studio may serve, of which some are open. For any thread."""

    def __init__(
        self, runs: Path, make: MakeEngine, hub: Hub, limits: Limits | None = None
    ) -> None:
        """runs: the folder of runs. make: makes the session of a project."""
        self.runs = runs
        self.hub = hub
        self.limits = limits or Limits()
        self.first: Project | None = None
        self._make = make
        self._lock = threading.RLock()
        self._open: dict[str, Held] = {}
        self._is_closed = False

    def begin(self, project: Project, video: Path | None, progress: Progress) -> None:
        """Open the project that was named at the start. Raises InputError.

        video: where its video lies, where that was named.
        """
        self.first = project
        self._opened(project, video, progress)

    def listing(self) -> dict[str, Any]:
        """The projects, as pages are told."""
        found = projects.all_of(self.first, self.runs)
        first = None if self.first is None else self.first.id
        return {"projects": [self._line(project) for project in found], "opened": first}

    def get(self, id: str) -> Opened:
        """An open project by its id, which is opened where it is not. Raises InputError, and
        LookupError where no project has that id."""
        held = self._open.get(id)
        if held is not None:
            return held.opened
        found = {project.id: project for project in projects.all_of(self.first, self.runs)}
        return self._opened(found[id], None)

    def accept(self, folder: Path) -> str:
        """Open the project whose video was just uploaded into a folder; its id.

        Raises InputError where that is no video, or one of too many frames; the folder is removed
        then.
        """
        project = Project(folder)
        try:
            self._opened(project, None, self._count)
        except InputError:
            projects.remove(folder)
            raise
        return project.id

    def close(self) -> None:
        """Close all projects; none is opened any more."""
        with self._lock:
            self._is_closed = True
            for id in list(self._open):
                self._open.pop(id).close()

    def _count(self, stage: str, done: int, total: int) -> None:
        """A progress that raises InputError for a video of too many frames."""
        if done > self.limits.frames:
            raise InputError(f"the video has more than {self.limits.frames} frames; send a part")

    def _line(self, project: Project) -> dict[str, Any]:
        about = projects.about(project)
        return {
            "id": project.id,
            "name": project.name,
            "frames": about.frames,
            "size": about.size,
            "fitted": outputs.holds_fit(project.folder),
            "points": about.points,
        }

    def _opened(self, project: Project, video: Path | None, progress: Progress = silent) -> Opened:
        """Open a project, unless it is."""
        with self._lock:
            if project.id not in self._open:
                if self._is_closed:
                    raise Conflict("the studio is closing")
                self._make_room()
                self._open[project.id] = self._made(project, video, progress)
            return self._open[project.id].opened

    def _made(self, project: Project, path: Path | None, progress: Progress) -> Held:
        named = None if path is None else read_video(path, progress)
        if named is not None:
            make_folder(project.folder)
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(project.folder))
            video = named or read_video(projects.video_of(project), progress)
            opened = Opened(project, video, self._make, self.hub)
            return Held(opened, stack.pop_all())

    def _make_room(self) -> None:
        """Close a project that nobody looks at, where too many are open. Raises Conflict."""
        if len(self._open) < MOST_OPEN:
            return
        listeners = self.hub.listeners
        for id, held in self._open.items():
            if not listeners[id] and not held.opened.is_busy:
                del self._open[id]
                held.close()
                return
        raise Conflict(f"{MOST_OPEN} videos are open; close the windows of one of them first")
