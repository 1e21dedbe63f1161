"""CVAT for video 1.1: a track for each point. There the top-left pixel has its centre at (.5, .5).

What is hidden is `outside`, with the position where it is, and every frame is a keyframe, as CVAT
would draw straight lines between keyframes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from dinotrack.errors import printable
from dinotrack.formats.format import Clip, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.opening import Unreadable, opened, size_of
from dinotrack.formats.texts import MOST_BYTES, start_of, write_text
from dinotrack.tracks import Tracks

KIND = "annotations of CVAT"
"""What messages call these files."""
HALF = 0.5
"""Where the centre of the top-left pixel is in CVAT, whose pictures begin at (0, 0)."""


def write_cvat(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `cvat`: labels are the names of points. Where hidden points are not wished, only
    the first frame of a hidden stretch is there, with the last visible position."""
    write_text(path, _parts(tracks, wishes))


def _parts(tracks: Tracks, wishes: Wishes) -> Iterator[str]:
    height, width = tracks.size
    count = tracks.visible.shape[1]
    start = wishes.start_frame
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    yield f"<meta>\n<task>\n<name>dinotrack</name>\n<size>{count}</size>\n"
    yield "<mode>interpolation</mode>\n<overlap>0</overlap>\n"
    yield f"<start_frame>{start}</start_frame>\n<stop_frame>{start + count - 1}</stop_frame>\n"
    names = [printable(name) for name in tracks.point_names]
    yield "<labels>\n"
    for name in dict.fromkeys(names):
        label = f"<name>{escape(name)}</name>\n<type>points</type>\n<attributes></attributes>"
        yield f"<label>\n{label}\n</label>\n"
    yield "</labels>\n<original_size>\n"
    yield f"<width>{width}</width>\n<height>{height}</height>\n</original_size>\n</task>\n</meta>\n"
    for p, name in enumerate(names):
        yield f'<track id="{p}" label={quoteattr(name)} source="auto">\n'
        yield from _shapes(tracks, p, wishes)
        yield "</track>\n"
    yield "</annotations>\n"


def _shapes(tracks: Tracks, p: int, wishes: Wishes) -> Iterator[str]:
    """A line for each frame."""
    last: tuple[float, float] | None = None
    was_seen = False
    rows = zip(tracks.xy[p].tolist(), tracks.visible[p].tolist(), strict=True)
    for t, ((x, y), seen) in enumerate(rows, wishes.start_frame):
        is_told = seen or was_seen or not wishes.only_visible
        if seen or not wishes.only_visible:
            last = (x + HALF, y + HALF)
        if is_told and last is not None:
            yield (
                f'<points frame="{t}" keyframe="1" outside="{not seen:d}" occluded="0" '
                f'points="{last[0]:.4f},{last[1]:.4f}" z_order="0"></points>\n'
            )
        was_seen = seen


def is_cvat(path: Path) -> bool:
    """Whether an .xml file begins as CVAT's do."""
    return "<annotations" in start_of(path)


def read_cvat(path: Path, clip: Clip) -> Found:
    """Points of tracks, of skeletons, and of CVAT for images, in which `id` is the frame."""
    with opened(path, KIND) as file:
        if size_of(file) > MOST_BYTES:
            raise Unreadable(f"it is larger than {MOST_BYTES >> 20} MB; give fewer points")
        reader = _Reader(clip.start_frame)
        reader.read(file)
        points = [KeyedPoint(name, tuple(keys.values())) for (_, name), keys in reader.keys.items()]
        sides = [reader.numbers.get(side) for side in ("height", "width")]
        height, width = (None if side is None else int(side) for side in sides)
        size = None if height is None or width is None else (height, width)
        frames = reader.numbers.get("size")
        return Found(points, size, None if frames is None else int(frames))


@dataclass
class _Reader:
    """What is found while a file is read from its begin to its end.

    Nothing but its elements counts. A document type, which could define entities that grow or that
    stand for other files, is refused.
    """

    start_frame: int
    keys: dict[tuple[str, str], dict[int, Key]] = field(default_factory=dict)
    """By the track, and the name of the point, and the frame."""
    numbers: dict[str, str] = field(default_factory=dict)
    """Text of the description: size, width and height."""
    track: dict[str, str] = field(default_factory=dict)
    """Of the track or image that is open, its attributes."""
    frame: dict[str, str] = field(default_factory=dict)
    """Of the skeleton that is open, its attributes."""
    words: str = ""

    def read(self, file: BinaryIO) -> None:
        """Read a file."""
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = self._open
        parser.EndElementHandler = self._close
        parser.CharacterDataHandler = self._text
        parser.ParseFile(file)

    def _open(self, tag: str, attributes: dict[str, str]) -> None:
        self.words = ""
        if tag in ("track", "image"):
            self.track = attributes
            if tag == "image":
                self.numbers = {**self.numbers, **_sides(attributes)}
        elif tag == "skeleton":
            self.frame = attributes
        elif tag == "points":
            self._points({**self.track, **self.frame, **attributes}, attributes)

    def _close(self, tag: str) -> None:
        if tag in ("size", "width", "height") and self.words.strip().isdecimal():
            self.numbers.setdefault(tag, self.words.strip())
        elif tag in ("track", "image"):
            self.track = {}
        elif tag == "skeleton":
            self.frame = {}

    def _text(self, text: str) -> None:
        self.words = (self.words + text)[-64:]

    def _points(self, facts: dict[str, str], own: dict[str, str]) -> None:
        """Note the points of a shape, which may have several."""
        is_image = "frame" not in facts
        track = "" if is_image else facts["id"]
        t = int(facts["id"] if is_image else facts["frame"]) - self.start_frame
        seen = facts.get("outside", "0") == "0"
        places = own["points"].split(";")
        for i, place in enumerate(places):
            x, y = map(float, place.split(","))
            name = own.get("label", facts["label"]) + (f"_{i}" if len(places) > 1 else "")
            key = Key(t, x - HALF, y - HALF, seen, float(seen))
            self.keys.setdefault((track, name), {})[t] = key


def _sides(attributes: dict[str, str]) -> dict[str, str]:
    return {side: attributes[side] for side in ("width", "height") if side in attributes}


def _refuse(*what: object) -> None:
    raise Unreadable("it has a document type, which is not taken from others")
