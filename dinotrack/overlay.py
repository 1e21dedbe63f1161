"""The tracks drawn over their video.

A style is one function and one line in `STYLES`.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from dinotrack.errors import InputError
from dinotrack.files import same_file
from dinotrack.media.encoding import write_video
from dinotrack.media.frames import Frame, each_frame
from dinotrack.plain import plain_array
from dinotrack.progress import Progress, silent
from dinotrack.tracks import Tracks
from dinotrack.video import Source, read_video

Style = Callable[[Frame, Tracks, int], Frame]
"""Called as style(frame, tracks, t); gives a new frame and leaves the given one as it is."""

Colour = tuple[int, int, int]
"""RGB."""

TRAIL = 12
"""Frames of a point's way that are drawn behind it."""
LEAP = 0.1
"""Of the diagonal: a point that moves further in one frame was found again, and leaves no trail."""
FAINT = 0.65
"""Opacity of hidden points, and of the dark rim that lifts dots off any ground."""
RADIUS = 0.0042
"""Of the diagonal: the radius of a dot."""
HUES = (0, 25, 50, 105, 175, 210, 260, 310)
"""Degrees; uneven, as half of an even rainbow looks green."""
_SHIFT = 4
"""OpenCV draws at fractions of a pixel, of which there are 2 ** _SHIFT in one."""


def render(
    video: Source,
    tracks: Tracks,
    path: str | Path,
    style: str = "trails",
    progress: Progress = silent,
) -> None:
    """Write an H.264 video of the frames with the tracks drawn over them.

    The picture has the size and the rate of the video, and where that varies, each frame is shown
    when it was. Colours run through the rainbow over the places of the queries, so neighbours look
    alike; hidden points are hollow. What has no finite position is not drawn, and without points
    the video is as it was.

    path: an .mp4 file. style: a key of STYLES. Raises InputError where tracks and video don't
    belong together, where `path` is the video itself, or where the file can't be written.
    """
    path = _checked_path(path)
    _check_style(style)
    clip = read_video(video)
    if clip.path and same_file(path, clip.path):
        raise InputError(f"{path} is the video itself; name another file for the overlay")
    if not isinstance(tracks, Tracks):
        raise InputError(f"tracks are what `Fitted.track` gives, not {type(tracks).__name__}")
    tracks = checked(tracks)
    length = len(clip.frames)
    tracked = tracks.visible.shape[1]
    if tracks.size != clip.size or tracked != length:
        raise InputError(
            f"the tracks are of {tracked} frames of {tracks.size[1]} x {tracks.size[0]}, "
            f"the video has {length} of {clip.size[1]} x {clip.size[0]}; "
            "give the video that was tracked"
        )
    progress("overlay", 0, length)

    def drawn() -> Iterator[Frame]:
        for t, frame in enumerate(each_frame(clip.frames)):
            yield draw_frame(frame, tracks, t, style)
            progress("overlay", t + 1, length)

    write_video(path, drawn(), clip.fps, clip.uneven_times)


def checked(tracks: Tracks) -> Tracks:
    """The same tracks, whose arrays are numpy's and fit each other.

    Users shorten tracks, put NaN where a point is hidden, and give tensors and lists. Raises
    InputError where that makes no tracks.
    """
    xy = plain_array(tracks.xy, "xy")
    visible = plain_array(tracks.visible, "visible")
    queries = plain_array(tracks.queries, "queries")
    count, length = (*visible.shape, 0, 0)[:2]
    wanted = {"xy": (xy, (count, length, 2)), "queries": (queries, (count, 3))}
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
        queries=queries.astype(np.float32, copy=False),
    )


def _checked_path(path: str | Path) -> Path:
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
        raise InputError(f"unknown overlay style {style!r}; choose {' or '.join(STYLES)}")


def draw_frame(frame: Frame, tracks: Tracks, t: int, style: str = "trails") -> Frame:
    """Frame t with the tracks drawn over it; the frame itself stays as it is.

    Raises InputError for an unknown style.
    """
    _check_style(style)
    return STYLES[style](frame, tracks, t)


def draw_dots(frame: Frame, tracks: Tracks, t: int) -> Frame:
    """A dot for each visible point, a thin ring for each hidden one."""
    colours = rainbow(tracks)
    centres = _fixed(tracks.xy[:, t], tracks.size)
    somewhere = np.isfinite(tracks.xy[:, t]).all(axis=1)
    visible = np.flatnonzero(somewhere & tracks.visible[:, t])
    hidden = np.flatnonzero(somewhere & ~tracks.visible[:, t])
    radius = _mark_radius(tracks.size)
    dot = _fixed_length(radius)
    rim = 1 + 0.15 * radius
    rimmed = _fixed_length(radius + rim)
    line = max(1, round(radius / 3))
    faint = frame.copy()
    for i in hidden:
        cv2.circle(faint, centres[i], dot, colours[i], line, cv2.LINE_AA, _SHIFT)
    for i in visible:
        cv2.circle(faint, centres[i], rimmed, (0, 0, 0), cv2.FILLED, cv2.LINE_AA, _SHIFT)
    out = cv2.addWeighted(faint, FAINT, frame, 1 - FAINT, 0)
    for i in visible:
        cv2.circle(out, centres[i], dot, colours[i], cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return np.asarray(out, np.uint8)


def draw_trails(frame: Frame, tracks: Tracks, t: int) -> Frame:
    """Points, and behind each the way it came, fading.

    A step is drawn where the point was visible at both ends and moved rather than leapt. A step
    from or to nowhere (NaN) has no length that could be small enough.
    """
    colours = rainbow(tracks)
    thickness = max(1, round(_mark_radius(tracks.size) / 2))
    leap = LEAP * math.hypot(*tracks.size)
    out = frame
    for age in range(min(TRAIL, t), 0, -1):
        before = t - age
        starts = _fixed(tracks.xy[:, before], tracks.size)
        ends = _fixed(tracks.xy[:, before + 1], tracks.size)
        with np.errstate(invalid="ignore"):
            step = np.linalg.norm(tracks.xy[:, before + 1] - tracks.xy[:, before], axis=1)
        seen = tracks.visible[:, before] & tracks.visible[:, before + 1] & (step < leap)
        layer = out.copy()
        for i in np.flatnonzero(seen):
            cv2.line(layer, starts[i], ends[i], colours[i], thickness, cv2.LINE_AA, _SHIFT)
        opacity = 1 - (age - 0.5) / TRAIL
        out = np.asarray(cv2.addWeighted(layer, opacity, out, 1 - opacity, 0), np.uint8)
    return draw_dots(out, tracks, t)


STYLES: dict[str, Style] = {"trails": draw_trails, "points": draw_dots}
"""How tracks can be drawn."""


def rainbow(tracks: Tracks) -> list[Colour]:
    """A colour for each point, by the rank of its query's place.

    Ranks, not places, choose the colour, so that few points, or close ones, span the whole rainbow
    too.
    """
    if not len(tracks.queries):
        return []
    height, width = tracks.size
    place = 0.35 * tracks.queries[:, 1] / width + 0.65 * tracks.queries[:, 2] / height
    order = np.argsort(np.argsort(place, kind="stable"))
    rank = order / max(len(place) - 1, 1)
    hue = np.interp(rank, np.linspace(0, 1, len(HUES)), HUES)
    hsv = np.stack((hue, np.full_like(hue, 0.85), np.ones_like(hue)), axis=-1).astype(np.float32)
    rgb = cv2.cvtColor(hsv[:, None], cv2.COLOR_HSV2RGB)[:, 0]
    return [(r, g, b) for r, g, b in np.rint(255 * rgb).astype(int).tolist()]


def _mark_radius(size: tuple[int, int]) -> float:
    """Radius of a dot, px."""
    return max(1.0, RADIUS * math.hypot(*size))


def _fixed_length(length: float) -> int:
    """A length in OpenCV's fixed point."""
    return round(length * (1 << _SHIFT))


def _fixed(xy: Float[np.ndarray, "N 2"], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Positions in OpenCV's fixed point.

    Those far outside are drawn nowhere, and must not overflow; those that are no numbers are drawn
    by nobody.
    """
    height, width = size
    near = np.clip(np.nan_to_num(xy), (-width, -height), (2 * width, 2 * height))
    return [(x, y) for x, y in np.rint(near * (1 << _SHIFT)).astype(int).tolist()]
