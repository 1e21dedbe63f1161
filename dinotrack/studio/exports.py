"""Files to take away: tracks for other programs, an overlay, a report."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dinotrack import overlay
from dinotrack.errors import InputError
from dinotrack.files import unwritable
from dinotrack.fitted import Fitted
from dinotrack.formats import FORMATS
from dinotrack.progress import Progress
from dinotrack.report.sections import write_report
from dinotrack.report.story import Story
from dinotrack.studio.engine import ExportWishes
from dinotrack.tracks import Tracks
from dinotrack.video import Video


def write_tracks(tracks: Tracks, format: str, wishes: ExportWishes, video: Video) -> Path:
    """Tracks as a file of another program, in a new folder. Raises InputError."""
    known = FORMATS.get(format)
    if known is None or known.write is None:
        raise InputError(f"tracks are not written as {format!r}; choose one of the list")
    with _new_file(f"tracks{known.ending}") as path:
        tracks.save(
            path,
            format,
            start_frame=wishes.start_frame,
            only_visible=wishes.only_visible,
            video=video.path,
        )
    return path


def write_overlay(tracks: Tracks, style: str, video: Video, progress: Progress) -> Path:
    """A video of the tracks over the frames, in a new folder. Raises InputError."""
    with _new_file("overlay.mp4") as path:
        overlay.render(video, tracks, path, style, progress)
    return path


def write_page(name: str, tracks: Tracks, fitted: Fitted, progress: Progress) -> Path:
    """The report of a fit and its tracks, in a new folder. Raises InputError.

    name: of the project, with which the page is headed.
    """
    record = fitted.record | {"device": str(fitted.run.device)}
    with _new_file("report.html") as path:
        write_report(path, Story(name, fitted, tracks, record), progress)
    return path


@contextlib.contextmanager
def _new_file(name: str) -> Iterator[Path]:
    """The path of a file in a new folder, which nobody else can look into, and of which nothing is
    left where writing the file fails. Raises InputError where there can be no such folder."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="dinotrack-"))
    except OSError as error:
        advice = "make room there, or set TMPDIR to another folder"
        raise unwritable("the temporary folder", error, advice) from error
    try:
        yield folder / name
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
