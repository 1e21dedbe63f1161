"""2D paths of SynthEyes: lines `Name frame u v outcome`, where u and v run from -1, at the centre
of the top-left pixel, to 1, at the centre of the bottom-right one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dinotrack.formats.format import Clip, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.lines import Lines
from dinotrack.formats.seen import seen_points
from dinotrack.formats.texts import distinct, start_of, write_text
from dinotrack.tracks import Tracks

KIND = "2D paths of SynthEyes"
"""What messages call these files."""
KEPT, FOLLOWED = 15, 7
"""The outcome of a frame: a key that the tracker starts from, or one that it got to."""
ROW = re.compile(r"\S+ +-?\d+ +-?[\d.]+ +-?[\d.]+( +\d+)?\s*")
"""What the first line of such a file is."""


def write_syntheyes(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `syntheyes`: frames in which a point is hidden are left out, and of names all but
    letters and digits."""
    write_text(path, _texts(path, tracks, wishes.start_frame))


def _texts(path: Path, tracks: Tracks, start: int) -> Iterator[str]:
    half_width, half_height = _halves(tracks.size)
    plain = [re.sub(r"[\W_]", "", name) for name in tracks.point_names]
    for point in seen_points(path, tracks, distinct(plain, joint="")):
        before = None
        for key in point.keys:
            u, v = key.x / half_width - 1, key.y / half_height - 1
            outcome = FOLLOWED if key.t - 1 == before else KEPT
            yield f"{point.name} {key.t + start} {u:.9f} {v:.9f} {outcome}\n"
            before = key.t


def _halves(size: tuple[int, int]) -> tuple[float, float]:
    """Half of the way (x, y), px, from the first pixel to the last one."""
    height, width = size
    return max(width - 1, 1) / 2, max(height - 1, 1) / 2


def is_syntheyes(path: Path) -> bool:
    """Whether a .txt file begins as paths of SynthEyes do."""
    first = start_of(path).partition("\n")[0]
    return ROW.fullmatch(first) is not None


def read_syntheyes(path: Path, clip: Clip) -> Found:
    """The inverse of `write_syntheyes`; the size of the video has to be known."""
    half_width, half_height = _halves(clip.needed_size(path))
    lines = Lines(path, KIND)
    keys: dict[str, list[Key]] = {}
    while lines.rest:
        name, *fields = lines.text("a row").split()
        frame, u, v = lines.parsed(fields, "frame u v outcome", 3)
        t = lines.frame(frame) - clip.start_frame
        key = Key(t, (u + 1) * half_width, (v + 1) * half_height)
        keys.setdefault(name, []).append(key)
    return Found([KeyedPoint(name, tuple(found)) for name, found in keys.items()])
