"""What the server asks of a session, which does all of the method's work on one video.

`session.Session` is the one that does it. Tests of the server have another one, which is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dinotrack.studio.document import Document
from dinotrack.video import Video


@dataclass(frozen=True)
class FitWishes:
    """How a fit is to be made. None: as is usual."""

    preset: str | None = None
    backbone: str | None = None
    flow: str | None = None
    steps: int | None = None
    again: bool = False
    """Whether a kept fit with other settings gives way to a new one."""


@dataclass(frozen=True)
class ExportWishes:
    """What is wished of a file of tracks. None: all points, and what is usual."""

    points: tuple[int, ...] | None = None
    """The ids of points."""
    start_frame: int | None = None
    only_visible: bool = False


Publish = Callable[[str, dict[str, Any] | None], None]
"""Takes an event (fit, job, tracks or problem) and its data, which is None for no job, from any
thread, and returns at once."""


class Engine(Protocol):
    """The work on one video. Everything may be called from any thread.

    What can't be done now raises `document.Conflict`, as asking for a picture before there is a
    fit; what is wrong in itself raises another InputError.
    """

    def show(self, document: Document) -> None:
        """Follow the points of a document, which is this from now on; returns at once."""

    def fit(self, wishes: FitWishes) -> None:
        """Begin a fit or go on with it; returns at once. Raises InputError."""

    def stop(self) -> None:
        """Stop the fit and keep what it has learnt; returns at once."""

    def status(self) -> dict[str, Any]:
        """{"fit", "job", "versions"} as the state of a project holds them."""

    def tracks(self, ids: Sequence[int] | None) -> list[dict[str, Any]]:
        """The tracks that are there, of these points or of all."""

    def losses(self) -> dict[str, list[float]]:
        """The losses of the fit by step."""

    def picture(self, kind: str, t: int, point: int | None) -> bytes:
        """A PNG or a JPEG of what the networks see in frame t. Raises InputError."""

    def frame(self, t: int) -> bytes:
        """Frame t as JPEG."""

    def export(self, format: str, wishes: ExportWishes) -> Path:
        """A file of the tracks in a new folder of its own, which the caller removes. It waits for
        the tracks. Raises InputError."""

    def overlay(self, style: str) -> Path:
        """A video of the tracks, as `export`."""

    def report(self) -> Path:
        """A page about the fit, as `export`."""

    def close(self) -> None:
        """End all work, and keep what an unfinished fit has learnt."""


MakeEngine = Callable[[Path, Video, Publish], Engine]
"""Makes the session of a folder, of its video, which publishes what happens."""
