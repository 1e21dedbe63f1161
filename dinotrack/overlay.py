"""The tracks drawn over their video."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dinotrack.errors import InputError
from dinotrack.progress import Progress, silent
from dinotrack.tracks import Tracks
from dinotrack.ffmpeg import write_video
from dinotrack.video import Source, each_frame, read_video

Frames = npt.NDArray[np.uint8]

Style = Callable[[Frames, Tracks, int], Frames]

TRAIL = 12  # frames
LEAP = (
    0.1  # of the diagonal: who moves further in one frame was found again, and has no way behind it
)
FAINT = 0.65  # opacity of hidden points, and of the dark rim that lifts dots off any ground
HUES = (
    0,
    25,
    50,
    105,
    175,
    210,
    260,
    310,
)  # degrees; uneven, as half of an even rainbow looks green
_SHIFT = 4  # OpenCV draws at sixteenths of a pixel


def render(
    video: Source,
    tracks: Tracks,
    path: str | Path,
    style: str = "trails",
    progress: Progress = silent,
) -> None:
    """Write an H.264 video of the frames with the tracks drawn over them, in the video's size and
    rate.

    Colours run through the rainbow over the places of the queries, so neighbours look alike; hidden
    points are hollow.
    style: a key of STYLES. Raises InputError where tracks and video don't belong together or the
    file can't be written.
    """
    clip = read_video(video)
    length = len(clip.frames)
    if tracks.size != clip.size or tracks.visible.shape[1] != length:
        (height, width), (h, w) = tracks.size, clip.size
        raise InputError(
            f"the tracks are of {tracks.visible.shape[1]} frames of {width} x {height}, "
            f"the video has {length} of {w} x {h}; give the video that was tracked"
        )

    def drawn() -> Iterator[Frames]:
        for t, frame in enumerate(each_frame(clip.frames)):
            yield draw_frame(frame, tracks, t, style)
            progress("overlay", t + 1, length)

    write_video(path, drawn(), clip.fps)


def draw_frame(frame: Frames, tracks: Tracks, t: int, style: str = "trails") -> Frames:
    """Frame t, uint8 RGB [H, W, 3], with the tracks drawn over it; the frame itself stays as it
    is."""
    if style not in STYLES:
        raise InputError(f"unknown overlay style {style!r}; choose {' or '.join(STYLES)}")
    return STYLES[style](frame, tracks, t)


def draw_points(frame: Frames, tracks: Tracks, t: int) -> Frames:
    """A dot for each visible point, a thin ring for each hidden one."""
    colours, centres, visible = (
        rainbow(tracks),
        _fixed(tracks.xy[:, t], tracks.size),
        tracks.visible[:, t],
    )
    radius = _mark_radius(tracks.size)
    rim = 1 + 0.15 * radius
    layer = frame.copy()
    for i in np.flatnonzero(~visible):
        cv2.circle(
            layer,
            centres[i],
            _sixteenths(radius),
            colours[i],
            max(1, round(radius / 3)),
            cv2.LINE_AA,
            _SHIFT,
        )
    for i in np.flatnonzero(visible):
        cv2.circle(
            layer, centres[i], _sixteenths(radius + rim), (0, 0, 0), cv2.FILLED, cv2.LINE_AA, _SHIFT
        )
    out = cv2.addWeighted(layer, FAINT, frame, 1 - FAINT, 0)
    for i in np.flatnonzero(visible):
        cv2.circle(
            out, centres[i], _sixteenths(radius), colours[i], cv2.FILLED, cv2.LINE_AA, _SHIFT
        )
    return np.asarray(out, np.uint8)


def draw_trails(frame: Frames, tracks: Tracks, t: int) -> Frames:
    """Points, and behind each the way it came, fading, as far as it was visible and moved rather
    than leapt."""
    colours = rainbow(tracks)
    thickness = max(1, round(_mark_radius(tracks.size) / 2))
    leap = LEAP * math.hypot(*tracks.size)
    out = frame
    for age in range(min(TRAIL, t), 0, -1):
        ends = [_fixed(tracks.xy[:, t - age + step], tracks.size) for step in (0, 1)]
        seen = tracks.visible[:, t - age] & tracks.visible[:, t - age + 1]
        seen &= np.linalg.norm(tracks.xy[:, t - age + 1] - tracks.xy[:, t - age], axis=1) < leap
        layer = out.copy()
        for i in np.flatnonzero(seen):
            cv2.line(layer, ends[0][i], ends[1][i], colours[i], thickness, cv2.LINE_AA, _SHIFT)
        opacity = 1 - (age - 0.5) / TRAIL
        out = np.asarray(cv2.addWeighted(layer, opacity, out, 1 - opacity, 0), np.uint8)
    return draw_points(out, tracks, t)


STYLES: dict[str, Style] = {"trails": draw_trails, "points": draw_points}


def rainbow(tracks: Tracks) -> list[tuple[int, int, int]]:
    """An RGB colour for each point, by the rank of its query's place: few points, or close ones,
    span it all too."""
    height, width = tracks.size
    place = 0.35 * tracks.queries[:, 1] / width + 0.65 * tracks.queries[:, 2] / height
    rank = np.argsort(np.argsort(place, kind="stable")) / max(len(place) - 1, 1)
    hue = np.interp(rank, np.linspace(0, 1, len(HUES)), HUES)
    hsv = np.stack((hue, np.full_like(hue, 0.85), np.ones_like(hue)), axis=-1).astype(np.float32)
    rgb = cv2.cvtColor(hsv[:, None], cv2.COLOR_HSV2RGB)[:, 0]
    return [(r, g, b) for r, g, b in np.rint(255 * rgb).astype(int).tolist()]


def _mark_radius(size: tuple[int, int]) -> float:
    return max(1.0, 0.0042 * math.hypot(*size))


def _sixteenths(length: float) -> int:
    return round(length * (1 << _SHIFT))


def _fixed(xy: npt.NDArray[np.float32], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Positions [N, 2] in OpenCV's fixed point.

    Those far outside are drawn nowhere, and must not overflow.
    """
    height, width = size
    near = np.clip(xy, (-width, -height), (2 * width, 2 * height))
    return [(x, y) for x, y in np.rint(near * (1 << _SHIFT)).astype(int).tolist()]
