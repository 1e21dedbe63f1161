"""Files to take away: tracks for other programs, an overlay, a report."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dinotrack import overlay
from dinotrack.errors import InputError
from dinotrack.fitted import Fitted
from dinotrack.formats import FORMATS
from dinotrack.progress import Progress
from dinotrack.report.sections import write_report
from dinotrack.report.story import Story
from dinotrack.studio.engine import ExportWishes
from dinotrack.tracks import Tracks
from dinotrack.video import Video


def write_tracks(
    name: str, tracks: Tracks, format: str, wishes: ExportWishes, video: Video
) -> Path:
    """Tracks as a file of another program, in a new folder. Raises InputError.

    name: of the project, with which the file's name begins.
    """
    known = FORMATS.get(format)
    if known is None or known.write is None:
        raise InputError(f"tracks are not written as {format!r}; choose one of the list")
    path = _new_folder() / f"{name}_{format}{known.ending}"
    tracks.save(
        path,
        format,
        start_frame=wishes.start_frame,
        only_visible=wishes.only_visible,
        video=video.path,
    )
    return path


def write_overlay(name: str, tracks: Tracks, style: str, video: Video, progress: Progress) -> Path:
    """A video of the tracks over the frames, in a new folder. Raises InputError."""
    path = _new_folder() / f"{name}.mp4"
    overlay.render(video, tracks, path, style, progress)
    return path


def write_page(name: str, tracks: Tracks, fitted: Fitted, progress: Progress) -> Path:
    """The report of a fit and its tracks, in a new folder. Raises InputError."""
    path = _new_folder() / f"{name}.html"
    record = fitted.record | {"device": str(fitted.run.device)}
    write_report(path, Story(name, fitted, tracks, record), progress)
    return path


def _new_folder() -> Path:
    """A new folder, which nobody else can look into."""
    return Path(tempfile.mkdtemp(prefix="dinotrack-"))
