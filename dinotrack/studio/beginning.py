"""How a project begins that the studio has not seen before: with the points of its run, if any."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dinotrack.errors import InputError, printable
from dinotrack.formats import load_tracks
from dinotrack.studio.document import MOST_POINTS, Clip
from dinotrack.studio.journal import Beginning
from dinotrack.studio.projects import Project, uploaded
from dinotrack.studio.shapes import LONGEST_NAME, NewPoint
from dinotrack.terminal.requests import record_in
from dinotrack.tracks import Tracks
from dinotrack.video import Video, content_hash

TRACKS = "tracks.npz"


def beginning_of(project: Project, video: Video) -> Beginning:
    """The first line of the journal of a project.

    Of more points than the studio takes, as many as it does, evenly spread. Raises InputError where
    the folder holds the run of another video.
    """
    height, width = video.size
    return Beginning(
        video="" if uploaded(project.folder) else video.path,
        frames=len(video.frames),
        width=width,
        height=height,
        points=_points(project, video),
    )


def check_belong(project: Project, clip: Clip, video: Video) -> None:
    """Raise InputError where a video is not the one that a project is of."""
    height, width = video.size
    if clip != Clip(len(video.frames), width, height):
        raise InputError(
            f"{project.folder} is of a video of {clip.frames} frames of {clip.width} x "
            f"{clip.height}, and this one has {len(video.frames)} of {width} x {height}; "
            "name another folder of runs: --runs DIR"
        )


def _points(project: Project, video: Video) -> list[NewPoint]:
    """The points of the run that lies in the folder of a project; none where there is no run."""
    path = project.folder / TRACKS
    if not path.exists():
        return []
    tracks = load_tracks(path, "npz")
    (height, width), frames = tracks.size, tracks.visible.shape[1]
    check_belong(project, Clip(frames, width, height), video)
    _check_record(project.folder, video)
    count = len(tracks.queries)
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(int))
    return [_point(tracks, int(row)) for row in rows]


def _check_record(folder: Path, video: Video) -> None:
    """Raise InputError where the record of a run names another video."""
    told = record_in(folder).get("video")
    if not isinstance(told, dict) or told.get("path") == video.path:
        return
    if told.get("hash") not in (None, content_hash(video)):
        raise InputError(
            f"{folder} holds the run of another video, {told.get('path')}; "
            "name another folder of runs: --runs DIR"
        )


def _point(tracks: Tracks, row: int) -> NewPoint:
    t, x, y = (float(value) for value in tracks.queries[row])
    name = None if tracks.names is None else printable(tracks.names[row])[:LONGEST_NAME].strip()
    return NewPoint(t=int(t), x=x, y=y, name=name or None)
