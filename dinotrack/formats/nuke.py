"""Trackers of Nuke: px from the bottom-left corner of the picture, y upwards.

A Tracker4 holds all its points in one knob: a table with a row for each, whose columns it names
itself. Trackers of older versions hold up to four, a knob each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from dinotrack.errors import InputError
from dinotrack.formats import nuke_script
from dinotrack.formats.format import Clip, Found, KeyedPoint, Wishes
from dinotrack.formats.nuke_script import HALF, Curve, Node
from dinotrack.formats.seen import seen_points
from dinotrack.formats.texts import distinct, write_text
from dinotrack.tracks import Tracks

OLDER = ("Tracker", "Tracker3")
NODES = ("Tracker4", *OLDER)
OLD_POINTS = (1, 2, 3, 4)
"""The numbers of the points of an older tracker."""
STEERING = re.compile(r'[][{}"\\$;]')
"""What Tcl, the language of these files, takes for more than a letter."""
PATTERN, SEARCH = 16, 32
"""Px from a point to the edge of the picture part that Nuke would look for, and of where."""

COLUMNS = """\
{ 5 1 20 enable e 1 }
{ 3 1 75 name name 1 }
{ 2 1 58 track_x track_x 1 }
{ 2 1 58 track_y track_y 1 }
{ 2 1 63 offset_x offset_x 1 }
{ 2 1 63 offset_y offset_y 1 }
{ 4 1 27 T T 1 }
{ 4 1 27 R R 1 }
{ 4 1 27 S S 1 }
{ 2 0 45 error error 1 }
{ 1 1 0 error_min error_min 1 }
{ 1 1 0 error_max error_max 1 }
{ 1 1 0 pattern_x pattern_x 1 }
{ 1 1 0 pattern_y pattern_y 1 }
{ 1 1 0 pattern_r pattern_r 1 }
{ 1 1 0 pattern_t pattern_t 1 }
{ 1 1 0 search_x search_x 1 }
{ 1 1 0 search_y search_y 1 }
{ 1 1 0 search_r search_r 1 }
{ 1 1 0 search_t search_t 1 }
{ 2 1 0 key_track key_track 1 }
{ 2 1 0 key_search_x key_search_x 1 }
{ 2 1 0 key_search_y key_search_y 1 }
{ 2 1 0 key_search_r key_search_r 1 }
{ 2 1 0 key_search_t key_search_t 1 }
{ 2 1 0 key_track_x key_track_x 1 }
{ 2 1 0 key_track_y key_track_y 1 }
{ 2 1 0 key_track_r key_track_r 1 }
{ 2 1 0 key_track_t key_track_t 1 }
{ 2 1 0 key_centre_offset_x key_centre_offset_x 1 }
{ 2 1 0 key_centre_offset_y key_centre_offset_y 1 }
"""
"""Of a Tracker4: kind, whether it shows and how wide, name and label of each."""


def write_nuke(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `nuke`: where a point is hidden, its curves have no keys, and it is not enabled.

    Names lose what Tcl takes for more than a letter.
    """
    write_text(path, _texts(path, tracks, wishes.start_frame))


def _texts(path: Path, tracks: Tracks, start: int) -> Iterator[str]:
    names = distinct([STEERING.sub("_", name) for name in tracks.point_names])
    seen = tracks.visible.any(1)
    points = seen_points(path, tracks, names)
    yield nuke_script.head(tracks, start)
    yield f"Tracker4 {{\n inputs 0\n tracks {{ {{ 1 31 {seen.sum()} }}\n{{ {COLUMNS}}}\n{{\n"
    for point, visible in zip(points, tracks.visible[seen], strict=True):
        yield _row(point, visible, tracks.size[0], start)
    yield "}\n}\n selected_tracks 0\n name Tracker1\n xpos 0\n ypos 0\n}\n"


def _row(point: KeyedPoint, visible: Bool[np.ndarray, " T"], height: int, start: int) -> str:
    """A point as a row of `COLUMNS`."""
    across = [(key.t + start, key.x + HALF) for key in point.keys]
    up = [(key.t + start, height - HALF - key.y) for key in point.keys]
    turns = np.flatnonzero(np.diff(visible, prepend=~visible[0]))
    enable = [(int(t) + start, float(visible[t])) for t in turns]
    first, x = across[0]
    y = up[0][1]
    none = nuke_script.curve_text([(start, 0.0)], "K")
    boxes = [
        place + side * way
        for side in (SEARCH, PATTERN)
        for way, place in ((-1, x), (-1, y), (1, x), (1, y))
    ]
    key_columns = [nuke_script.curve_text([(first, value)]) for value in (*boxes, PATTERN, PATTERN)]
    sides = [way * side for side in (PATTERN, SEARCH - PATTERN) for way in (-1, -1, 1, 1)]
    fields = (
        nuke_script.curve_text(enable, "K"),
        f'"{point.name}"',
        nuke_script.curve_text(across),
        nuke_script.curve_text(up),
        none,
        none,
        "1 0 0",
        nuke_script.curve_text([(first, 0.0)]),
        "0 0",
        *map(str, sides),
        "{}",
        *key_columns,
    )
    return f" {{ {' '.join(fields)} }}\n"


def is_nuke(path: Path) -> bool:
    """Whether an .nk file has a tracker."""
    return nuke_script.holds(path, NODES)


def read_nuke(path: Path, clip: Clip) -> Found:
    """The points of all trackers in a script, or of one alone, as it lies in the clipboard.

    A point is hidden where it has no key and where it is not enabled, unless it never is: then it
    was switched off as a whole, which says nothing about the video. The height of the video has to
    be known where the script has no format.
    """
    nodes, project = nuke_script.script_of(path, NODES, "Tracker")
    size = clip.size or project.size or clip.needed_size(path)
    start = project.start(clip)
    points = []
    with nuke_script.in_file(path):
        for node in nodes:
            is_older = node.kind in OLDER
            prefix = "" if is_older or len(nodes) == 1 else f"{node.name} "
            for name, x, y, enable in _old_rows(node) if is_older else _rows(node):
                keys = nuke_script.keys_of(x, y, start, size[0], enable)
                points.append(KeyedPoint(f"{prefix}{name}", keys))
    return Found(points, project.size, project.frames(points, start), project.fps)


Row = tuple[str, Curve, Curve, Curve | None]
"""The name of a point, where it is (x, y), and where it is enabled; None where it always is."""


def _rows(node: Node) -> Iterator[Row]:
    """The points of a Tracker4 that have a place."""
    parts = nuke_script.words(node.knobs.get("tracks", ""))
    if len(parts) != 3:
        raise InputError(f"{node.name} has no table of points")
    heads = [nuke_script.words(column) for column in nuke_script.words(parts[1])]
    columns = [column[3] if len(column) > 3 else "" for column in heads]
    if not {"name", "track_x", "track_y"} <= set(columns):
        raise InputError(f"{node.name} has no columns name, track_x and track_y")
    for row in nuke_script.words(parts[2]):
        fields = dict(zip(columns, nuke_script.words(row), strict=False))
        x, y, enable = (
            nuke_script.curve_of(fields.get(name, "")) for name in ("track_x", "track_y", "enable")
        )
        if x and y:
            yield fields["name"], x, y, enable


def _old_rows(node: Node) -> Iterator[Row]:
    """The points of an older tracker: those that move, and those that are switched on. One alone is
    called as its node."""
    found = []
    for number in OLD_POINTS:
        place = nuke_script.place_of(node.knobs.get(f"track{number}", ""))
        is_on = node.knobs.get(f"enable{number}", "true" if number == 1 else "false")
        if place and (place[0].frames or is_on.strip("{}") in ("true", "1")):
            found.append((number, *place))
    for number, x, y in found:
        name = node.name if len(found) == 1 else f"{node.name} track{number}"
        yield name, x, y, None
