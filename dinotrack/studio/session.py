"""All of the method's work on one video, for the pages of the studio (engine.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dinotrack.errors import InputError, printable
from dinotrack.studio import exports, pictures
from dinotrack.studio.board import Board
from dinotrack.studio.document import Conflict, Document, by_id
from dinotrack.studio.engine import ExportWishes, FitWishes, Publish
from dinotrack.studio.following import joined
from dinotrack.studio.workshop import Workshop
from dinotrack.tracks import Tracks
from dinotrack.video import Video


class Session:
    """An `Engine`. The work is done by a thread of its own (workshop.py), and files and pictures
    are made by the threads that ask for them."""

    def __init__(self, folder: Path, video: Video, publish: Publish) -> None:
        """folder: of the project. publish: is called from any thread, and returns at once."""
        self._name = printable(folder.resolve().name)
        self._video = video
        self._board = Board(publish)
        self._workshop = Workshop(folder, video, self._board)
        self._palette: tuple[int, pictures.Palette] | None = None
        self._workshop.start()

    def show(self, document: Document) -> None:
        """Follow the points of a document, which is this from now on; returns at once."""
        self._board.show(document)

    def fit(self, wishes: FitWishes) -> None:
        """Begin a fit or go on with it; returns at once. Raises InputError."""
        self._board.want(self._workshop.fits.asked(wishes, self._video), wishes.again)

    def stop(self) -> None:
        """Stop the fit and keep what it has learnt; returns at once."""
        self._board.stop()

    def status(self) -> dict[str, Any]:
        """{"fit", "job", "versions"} as the state of a project holds them."""
        return self._board.as_json()

    def tracks(self, ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """The tracks that are there, of these points or of all."""
        return [followed.as_json() for followed in self._board.followed(ids)]

    def losses(self) -> dict[str, list[float]]:
        """The losses of the fit by step, as far as it was kept or has shown itself. Raises
        InputError where what was kept can't be read."""
        current, asked = self._board.current, self._board.asked
        is_of_this = asked is None or self._board.status.preview
        shown = current.fitted.state.losses if current is not None and is_of_this else {}
        fits = self._workshop.fits
        stored = fits.stored(asked.folder if asked is not None else fits.folder)
        kept = {} if stored is None else stored.losses
        return max(shown, kept, key=lambda losses: max(map(len, losses.values()), default=0))

    def tracked(self, ids: Sequence[int] | None = None) -> Tracks:
        """The tracks of some points or of all, with their names, once they are made. They are the
        ones that pages show. Raises Conflict where they won't be made soon."""
        document, followed = self._board.settled(ids)
        return joined(document, followed)

    def picture(self, kind: str, t: int, point: int | None = None) -> bytes:
        """A JPEG of what the networks see in frame t. Raises InputError."""
        self._check_frame(t)
        current = self._board.current
        if current is None:
            raise Conflict("the networks see nothing before there is a fit; press Fit first")
        if self._palette is None or self._palette[0] != current.number:
            self._palette = current.number, pictures.Palette(current.fitted)
        query = None
        if point is not None:
            placed = by_id(self._board.document).get(point)
            if placed is None:
                raise InputError(f"there is no point {point}; choose one of the list")
            query = np.array([[placed.t, placed.x, placed.y]], np.float32)
        return pictures.draw(kind, pictures.Look(self._palette[1], t, query))

    def frame(self, t: int) -> bytes:
        """Frame t as JPEG. Raises InputError."""
        self._check_frame(t)
        return pictures.frame(self._video, t)

    def export(self, format: str, wishes: ExportWishes) -> Path:
        """A file of the tracks in a new folder of its own, which the caller removes. It waits for
        the tracks. Raises InputError."""
        tracks = self.tracked(wishes.points)
        return exports.write_tracks(tracks, format, wishes, self._video)

    def overlay(self, style: str) -> Path:
        """A video of the tracks, as `export`."""
        tracks = self.tracked()
        with self._board.telling("overlay") as progress:
            return exports.write_overlay(tracks, style, self._video, progress)

    def report(self) -> Path:
        """A page about the fit, as `export`."""
        tracks = self.tracked()
        current = self._board.current
        assert current is not None
        with self._board.telling("report") as progress:
            return exports.write_page(self._name, tracks, current.fitted, progress)

    def close(self) -> None:
        """End all work, and keep what an unfinished fit has learnt."""
        self._board.close()
        self._workshop.join()

    def _check_frame(self, t: int) -> None:
        last = len(self._video.frames) - 1
        if not 0 <= t <= last:
            raise InputError(f"there is no frame {t}; frames are 0 to {last}")
