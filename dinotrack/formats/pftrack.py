"""2D tracks of PFTrack (.2dt): px from the centre of the bottom-left pixel, y upwards.

Each point has its name in quotes, the camera, the number of frames that show it, and a line
`frame x y error` for each of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dinotrack.formats.format import Clip, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.lines import Lines
from dinotrack.formats.seen import seen_points
from dinotrack.formats.texts import distinct, write_text
from dinotrack.tracks import Tracks

KIND = "2D tracks of PFTrack"
"""What messages call these files."""
CAMERA = '"Primary"'
END = "\r\n"
"""Of a line, as PFTrack writes it on every system."""


def write_pftrack(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `pftrack`: frames in which a point is hidden are left out."""
    write_text(path, _texts(path, tracks, wishes.start_frame))


def _texts(path: Path, tracks: Tracks, start: int) -> Iterator[str]:
    bottom = tracks.size[0] - 1
    names = distinct([name.replace('"', "'") for name in tracks.point_names])
    for point in seen_points(path, tracks, names):
        yield from (END, END, f'"{point.name}"', END, CAMERA, END, f"{len(point.keys)}", END)
        for key in point.keys:
            yield f"{key.t + start} {key.x:.5f} {bottom - key.y:.5f} 0.000{END}"


def read_pftrack(path: Path, clip: Clip) -> Found:
    """The inverse of `write_pftrack`; the height of the video has to be known."""
    bottom = clip.needed_size(path)[0] - 1
    lines = Lines(path, KIND)
    points = []
    while lines.rest:
        name = lines.text("the name of a point").strip()
        if len(name) < 2 or name[0] != '"' or name[-1] != '"':
            lines.refuse("the name of a point, in quotes, should be here")
        lines.text("the name of a camera")
        keys = []
        for _ in range(lines.whole("the number of frames")):
            frame, x, y = lines.numbers("frame x y error", 3)
            t = lines.frame(frame) - clip.start_frame
            keys.append(Key(t, x, bottom - y))
        points.append(KeyedPoint(name[1:-1], tuple(keys)))
    return Found(points)
