"""Writing the overlay: a video of the frames with the tracks drawn over them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dinotrack.errors import InputError, shown
from dinotrack.files import same_file
from dinotrack.media.encoding import write_video
from dinotrack.media.frames import Frame, each_frame
from dinotrack.overlay.scene import Scene
from dinotrack.overlay.styles import STYLES
from dinotrack.plain import plain_array
from dinotrack.progress import Progress, silent
from dinotrack.tracks import Tracks, point_numbers
from dinotrack.video import Source, Video, read_video


@dataclass(frozen=True)
class Look:
    """What is wished of an overlay."""

    style: str = "trails"
    """A key of STYLES."""
    trail: int | None = None
    """How many frames of a way are drawn; None: as many as the style likes."""
    points: str | Iterable[int | str] | None = None
    """The numbers or names of the points that are drawn; None: all."""
    side_by_side: bool = False
    """Whether the video as it was stands on the left of the overlay."""


def render(
    video: Source,
    tracks: Tracks,
    path: str | os.PathLike[str],
    look: str | Look = "trails",
    progress: Progress = silent,
) -> None:
    """Write an H.264 video of the frames with the tracks drawn over them.

    The picture has the size and the rate of the video, and where that varies, each frame is shown
    when it was. Colours run through the rainbow over the places of the queries, so neighbours look
    alike; hidden points are hollow. What has no finite position is not drawn, and without points
    the video is as it was.

    path: an .mp4 file. look: a key of STYLES, or more wishes. Raises InputError where tracks and
    video don't belong together, where `path` is the video itself, or where the file can't be
    written.
    """
    file = _checked_path(path)
    look = _checked_look(look)
    clip = read_video(video)
    if clip.path and same_file(file, clip.path):
        raise InputError(f"{file} is the video itself; name another file for the overlay")
    if not isinstance(tracks, Tracks):
        raise InputError(f"tracks are what `Fitted.track` gives, not {type(tracks).__name__}")
    tracks = checked(tracks)
    check_belong(tracks, clip)
    if look.points is not None:
        tracks = tracks.chosen(point_numbers(look.points, tracks.point_names))
    progress("overlay", 0, len(clip.frames))
    drawn = _drawn(clip, tracks, look, progress)
    write_video(file, drawn, clip.fps, clip.uneven_times)


def _drawn(clip: Video, tracks: Tracks, look: Look, progress: Progress) -> Iterator[Frame]:
    """The frames of the overlay."""
    scene = Scene(tracks, look.trail, clip.frames)
    style = STYLES[look.style]
    for t, frame in enumerate(each_frame(clip.frames)):
        drawn = style(frame, scene, t)
        yield np.hstack((frame, drawn)) if look.side_by_side else drawn
        progress("overlay", t + 1, len(clip.frames))


def check_belong(tracks: Tracks, video: Video) -> None:
    """Raises InputError where tracks are of another video, as far as that can be seen."""
    length, tracked = len(video.frames), tracks.visible.shape[1]
    if tracks.size != video.size or tracked != length:
        raise InputError(
            f"the tracks are of {tracked} frames of {tracks.size[1]} x {tracks.size[0]}, "
            f"the video has {length} of {video.size[1]} x {video.size[0]}; "
            "give the video that was tracked"
        )


def draw_frame(frame: Frame, tracks: Tracks, t: int, style: str = "trails") -> Frame:
    """Frame t with the tracks drawn over it; the frame itself stays as it is.

    Only this frame is known, so the camera counts as still. Raises InputError for an unknown
    style.
    """
    _check_style(style)
    return STYLES[style](frame, Scene(tracks), t)


def checked(tracks: Tracks) -> Tracks:
    """The same tracks, whose arrays are numpy's and fit each other.

    Users shorten tracks, put NaN where a point is hidden, and give tensors and lists. Raises
    InputError where that makes no tracks.
    """
    xy = plain_array(tracks.xy, "xy")
    visible = plain_array(tracks.visible, "visible")
    confidence = plain_array(tracks.confidence, "confidence")
    queries = plain_array(tracks.queries, "queries")
    count, length = (*visible.shape, 0, 0)[:2]
    wanted = {
        "xy": (xy, (count, length, 2)),
        "confidence": (confidence, (count, length)),
        "queries": (queries, (count, 3)),
    }
    if visible.ndim != 2:
        raise InputError(f"visible has shape {list(visible.shape)}; give bool [N, T]")
    for name, (array, shape) in wanted.items():
        if array.shape != shape or array.dtype.kind not in "iuf":
            raise InputError(
                f"{name} is {array.dtype} {list(array.shape)}, but visible has {count} points in "
                f"{length} frames; give numbers {list(shape)}"
            )
    return dataclasses.replace(
        tracks,
        xy=xy.astype(np.float32, copy=False),
        visible=visible.astype(np.bool_, copy=False),
        confidence=confidence.astype(np.float32, copy=False),
        queries=queries.astype(np.float32, copy=False),
    )


def _checked_path(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"an overlay's name is a path, not {type(path).__name__}; give one")
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise InputError(f"{path}: the overlay is an MP4 file; give a name that ends in .mp4")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder that exists; make it, or choose another")
    return path


def _check_style(style: str) -> None:
    if style not in STYLES:
        raise InputError(f"unknown overlay style {shown(style)}; choose {' or '.join(STYLES)}")


def _checked_look(look: str | Look) -> Look:
    wished = look if isinstance(look, Look) else Look(look)
    _check_style(wished.style)
    trail = wished.trail
    if trail is not None and (not isinstance(trail, int | np.integer) or trail < 0):
        raise InputError(f"a trail is a number of frames, 0 or more, not {shown(trail)}")
    return wished
