"""The strokes that styles share: dots, rings, ways and colours."""

import math
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Bool, Float

from dinotrack.media.frames import Frame
from dinotrack.tracks import Tracks

Colour = tuple[int, int, int]
"""RGB."""
Places = Callable[[int], Float[np.ndarray, "N 2"]]
"""Where all points of a frame are drawn, px."""
Colours = Callable[[int], list[Colour]]
"""What colours they have, by the frame."""

LEAP = 0.1
"""Of the diagonal: a point that moves further in one frame was found again, and leaves no trail."""
FAINT = 0.65
"""Opacity of hidden points, and of the dark rim that lifts dots off any ground."""
RADIUS = 0.0042
"""Of the diagonal: the radius of a dot."""
HUES = (0, 25, 50, 105, 175, 210, 260, 310)
"""Degrees; uneven, as half of an even rainbow looks green."""
TIP = 0.3
"""Of an arrow's length: that of its head."""
SHIFT = 4
"""OpenCV draws at fractions of a pixel, of which there are 2 ** SHIFT in one."""


def draw_dots(frame: Frame, tracks: Tracks, t: int, colours: list[Colour]) -> Frame:
    """A dot for each visible point, a thin ring for each hidden one."""
    centres = fixed(tracks.xy[:, t], tracks.size)
    somewhere = np.isfinite(tracks.xy[:, t]).all(axis=1)
    visible = np.flatnonzero(somewhere & tracks.visible[:, t])
    hidden = np.flatnonzero(somewhere & ~tracks.visible[:, t])
    radius = mark_radius(tracks.size)
    dot = _fixed_length(radius)
    rim = 1 + 0.15 * radius
    rimmed = _fixed_length(radius + rim)
    line = max(1, round(radius / 3))
    faint = frame.copy()
    for i in hidden:
        cv2.circle(faint, centres[i], dot, colours[i], line, cv2.LINE_AA, SHIFT)
    for i in visible:
        cv2.circle(faint, centres[i], rimmed, (0, 0, 0), cv2.FILLED, cv2.LINE_AA, SHIFT)
    out = cv2.addWeighted(faint, FAINT, frame, 1 - FAINT, 0)
    for i in visible:
        cv2.circle(out, centres[i], dot, colours[i], cv2.FILLED, cv2.LINE_AA, SHIFT)
    return np.asarray(out, np.uint8)


def draw_ways(
    frame: Frame, tracks: Tracks, t: int, length: int, places: Places, colours: Colours
) -> Frame:
    """The way by which each point came to frame t, through `length` frames, the older the fainter.

    A step is drawn where the point was visible at both ends and moved rather than leapt. A step
    from or to nowhere (NaN) has no length that could be small enough.
    """
    thickness = line_width(tracks.size)
    out = frame
    for age in range(min(length, t), 0, -1):
        before = t - age
        here, there = places(before), places(before + 1)
        starts, ends = fixed(here, tracks.size), fixed(there, tracks.size)
        shades = colours(before + 1)
        layer = out.copy()
        for i in np.flatnonzero(_steps(tracks, before, here, there)):
            cv2.line(layer, starts[i], ends[i], shades[i], thickness, cv2.LINE_AA, SHIFT)
        opacity = 1 - (age - 0.5) / length
        out = np.asarray(cv2.addWeighted(layer, opacity, out, 1 - opacity, 0), np.uint8)
    return out


def draw_arrows(
    frame: Frame,
    tracks: Tracks,
    t: int,
    ways: Float[np.ndarray, "N 2"],
    colours: list[Colour],
) -> Frame:
    """An arrow from each visible point of frame t that goes somewhere: `ways` px from there."""
    tails = fixed(tracks.xy[:, t], tracks.size)
    heads = fixed(tracks.xy[:, t] + ways, tracks.size)
    with np.errstate(invalid="ignore"):
        goes = np.linalg.norm(ways, axis=1) > mark_radius(tracks.size)
    thickness = line_width(tracks.size)
    out = frame.copy()
    for i in np.flatnonzero(tracks.visible[:, t] & goes):
        for width, shade in ((thickness + 2, (0, 0, 0)), (thickness, colours[i])):
            cv2.arrowedLine(out, tails[i], heads[i], shade, width, cv2.LINE_AA, SHIFT, TIP)
    return np.asarray(out, np.uint8)


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


def heat_colours(levels: Float[np.ndarray, " N"]) -> list[Colour]:
    """A colour for each number from 0 (dark blue) over purple and orange to 1 (yellow)."""
    if not len(levels):
        return []
    bytes_of = np.rint(255 * np.nan_to_num(levels).clip(0, 1)).astype(np.uint8)
    bgr = cv2.applyColorMap(bytes_of[:, None], cv2.COLORMAP_PLASMA)[:, 0]
    return [(r, g, b) for b, g, r in bgr.tolist()]


def mark_radius(size: tuple[int, int]) -> float:
    """Radius of a dot, px."""
    return max(1.0, RADIUS * math.hypot(*size))


def line_width(size: tuple[int, int]) -> int:
    """Thickness of a line, px."""
    return max(1, round(mark_radius(size) / 2))


def fixed(xy: Float[np.ndarray, "N 2"], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Positions in OpenCV's fixed point.

    Those far outside are drawn nowhere, and must not overflow; those that are no numbers are drawn
    by nobody.
    """
    height, width = size
    near = np.clip(np.nan_to_num(xy), (-width, -height), (2 * width, 2 * height))
    return [(x, y) for x, y in np.rint(near * (1 << SHIFT)).astype(int).tolist()]


def _steps(
    tracks: Tracks, before: int, here: Float[np.ndarray, "N 2"], there: Float[np.ndarray, "N 2"]
) -> Bool[np.ndarray, " N"]:
    """Which points were seen to move from a frame to the next, and did not leap."""
    with np.errstate(invalid="ignore"):
        step = np.linalg.norm(there - here, axis=1)
    near = step < LEAP * math.hypot(*tracks.size)
    return np.asarray(tracks.visible[:, before] & tracks.visible[:, before + 1] & near)


def _fixed_length(length: float) -> int:
    """A length in OpenCV's fixed point."""
    return round(length * (1 << SHIFT))
