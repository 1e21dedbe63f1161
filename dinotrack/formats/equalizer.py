"""2D tracks of 3DEqualizer4: `x` and `y` are px from the bottom-left corner of the picture.

The file holds the number of points; then of each its name, a colour, the number of frames that show
it, and a line `frame x y` for each of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dinotrack.formats.format import Clip, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.lines import Lines
from dinotrack.formats.seen import seen_points
from dinotrack.formats.texts import distinct, start_of, write_text
from dinotrack.tracks import Tracks

KIND = "2D tracks of 3DEqualizer"
"""What messages call these files."""
HALF = 0.5
"""Px from the corner of the picture, where 3DEqualizer counts from, to the centre of a pixel."""
COLOUR = 0
"""Of every point: the first of 3DEqualizer's."""


def write_equalizer(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `3de`: frames in which a point is hidden are left out."""
    write_text(path, _texts(path, tracks, wishes.start_frame))


def _texts(path: Path, tracks: Tracks, start: int) -> Iterator[str]:
    height = tracks.size[0]
    points = seen_points(path, tracks, distinct(tracks.point_names))
    yield f"{tracks.visible.any(1).sum()}\n"
    for point in points:
        yield f"{point.name}\n{COLOUR}\n{len(point.keys)}\n"
        for key in point.keys:
            x, y = key.x + HALF, height - HALF - key.y
            yield f"{key.t + start} {x:.15f} {y:.15f}\n"


def is_equalizer(path: Path) -> bool:
    """Whether a .txt file begins as 2D tracks of 3DEqualizer do."""
    lines = start_of(path).splitlines()
    counts = (lines[0], lines[2], lines[3]) if len(lines) > 4 else ("",)
    fields = lines[4].split() if len(lines) > 4 else []
    return all(line.strip().isdecimal() for line in counts) and len(fields) == 3


def read_equalizer(path: Path, clip: Clip) -> Found:
    """The inverse of `write_equalizer`; the height of the video has to be known."""
    height = clip.needed_size(path)[0]
    lines = Lines(path, KIND)
    points = []
    for _ in range(lines.whole("the number of points")):
        name = lines.text("the name of a point").strip()
        lines.whole("a colour")
        keys = []
        for _ in range(lines.whole("the number of frames")):
            frame, x, y = lines.numbers("frame x y", 3)
            t = lines.frame(frame) - clip.start_frame
            keys.append(Key(t, x - HALF, height - HALF - y))
        points.append(KeyedPoint(name, tuple(keys)))
    return Found(points)
