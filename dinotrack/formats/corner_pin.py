"""Nuke's CornerPin2D, which lays a picture over four points, one for each of its corners.

Positions are px from the bottom-left corner of the picture, y upwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dinotrack.errors import InputError
from dinotrack.formats import nuke_script
from dinotrack.formats.format import Clip, Found, KeyedPoint, Wishes
from dinotrack.formats.nuke_script import HALF
from dinotrack.formats.texts import write_text
from dinotrack.tracks import Tracks

NODES = ("CornerPin2D",)
CORNERS = {1: "bottom_left", 2: "bottom_right", 3: "top_right", 4: "top_left"}
"""The number of a point of the node -> the corner of the picture that it is for."""


def write_corner_pin(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `cornerpin`: where a point is hidden, its curves have no keys.

    Points are given to corners by where they are in the first frame that shows all four, as `order`
    says. Raises InputError unless there are four points, each visible somewhere.
    """
    if len(tracks.xy) != len(CORNERS):
        raise InputError(
            f"{path}: a CornerPin2D has four points, and here are {len(tracks.xy)}; choose four "
            "of them"
        )
    if not tracks.visible.any(1).all():
        raise InputError(
            f"{path}: a CornerPin2D needs its four points, and one is not visible in any frame; "
            "choose another point"
        )
    write_text(path, _texts(tracks, wishes.start_frame))


def order(tracks: Tracks) -> list[int]:
    """The numbers of four points, as CORNERS has them: around their middle against the clock, from
    the one that is farthest to the bottom left.

    It is their places in the first frame that shows all of them that count, or in the first frame
    of all where there is none.
    """
    first = int(tracks.visible.all(0).argmax())
    places = tracks.xy[:, first].astype(np.float64)
    right, down = (places - places.mean(0)).T
    around = np.argsort(np.arctan2(-down, right), kind="stable")
    bottom_left = int(np.argmin((right - down)[around]))
    return [int(point) for point in np.roll(around, -bottom_left)]


def _texts(tracks: Tracks, start: int) -> Iterator[str]:
    height, width = tracks.size
    yield nuke_script.head(tracks, start)
    yield "CornerPin2D {\n inputs 0\n"
    for number, point in enumerate(order(tracks), 1):
        frames = np.flatnonzero(tracks.visible[point]).tolist()
        places = tracks.xy[point, frames].astype(np.float64)
        curves = (
            nuke_script.curve_text([(t + start, v) for t, v in zip(frames, values, strict=True)])
            for values in ((places[:, 0] + HALF).tolist(), (height - HALF - places[:, 1]).tolist())
        )
        yield f" to{number} {{{' '.join(curves)}}}\n"
    yield f" from1 {{0 0}}\n from2 {{{width} 0}}\n"
    yield f" from3 {{{width} {height}}}\n from4 {{0 {height}}}\n"
    yield " name CornerPin2D1\n xpos 0\n ypos 0\n}\n"


def is_corner_pin(path: Path) -> bool:
    """Whether an .nk file has a CornerPin2D."""
    return nuke_script.holds(path, NODES)


def read_corner_pin(path: Path, clip: Clip) -> Found:
    """The four points of each CornerPin2D of a script, called as the corners that they are for.

    The height of the video has to be known where the script has no format.
    """
    nodes, project = nuke_script.script_of(path, NODES, "CornerPin2D")
    size = clip.size or project.size or clip.needed_size(path)
    start = project.start(clip)
    points = []
    with nuke_script.in_file(path):
        for node in nodes:
            prefix = f"{node.name} " if len(nodes) > 1 else ""
            for number, corner in CORNERS.items():
                place = nuke_script.place_of(node.knobs.get(f"to{number}", ""))
                if place is None:
                    raise InputError(f"to{number} of {node.name} is no place")
                keys = nuke_script.keys_of(*place, start, size[0])
                points.append(KeyedPoint(f"{prefix}{corner}", keys))
    return Found(points, project.size, project.frames(points, start), project.fps)
