"""Fusion, also inside DaVinci Resolve: a .setting, which is a table in the language Lua.

Positions are parts of the picture's width and height, from its bottom-left corner. Each point is a
Transform, whose Center follows two splines, one for x and one for y.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dinotrack.formats.format import Key, KeyedPoint, Wishes
from dinotrack.formats.seen import seen_points
from dinotrack.formats.texts import distinct, write_text
from dinotrack.tracks import Tracks

HALF = 0.5
"""Px from the corner of the picture to the centre of a pixel."""
COLOURS = {"X": "Red = 255, Green = 0, Blue = 0", "Y": "Red = 0, Green = 255, Blue = 0"}
"""Of the splines."""
APART = 110
"""Between tools in the flow."""


def write_fusion(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `fusion`: frames in which a point is hidden have no key.

    Names of tools are of ASCII letters, digits and underscores, never two underscores in a row; the
    name as it was is the comment of the tool.
    """
    write_text(path, _texts(path, tracks, wishes.start_frame))


def _texts(path: Path, tracks: Tracks, start: int) -> Iterator[str]:
    names = distinct([_tool_name(name) for name in tracks.point_names])
    comments = dict(zip(names, tracks.point_names, strict=True))
    yield "{\n\tTools = ordered() {\n"
    for number, point in enumerate(seen_points(path, tracks, names)):
        yield _transform(point.name, comments[point.name], number * APART)
        yield from _splines(point, tracks.size, start)
    yield "\t},\n}\n"


def _tool_name(name: str) -> str:
    """A name that Fusion takes, and to which two underscores can be added to make another one."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    return plain if plain[:1].isalpha() else f"point_{plain}".rstrip("_")


def _transform(name: str, comment: str, place: int) -> str:
    return (
        f"\t\t{name} = Transform {{\n"
        "\t\t\tNameSet = true,\n"
        "\t\t\tInputs = {\n"
        f'\t\t\t\tCenter = Input {{ SourceOp = "{name}__Path", Source = "Value", }},\n'
        f"\t\t\t\tComments = Input {{ Value = {_lua_text(comment)}, }},\n"
        "\t\t\t},\n"
        f"\t\t\tViewInfo = OperatorInfo {{ Pos = {{ {place}, 0 }} }},\n"
        "\t\t},\n"
        f"\t\t{name}__Path = XYPath {{\n"
        "\t\t\tShowKeyPoints = false,\n"
        '\t\t\tDrawMode = "ModifyOnly",\n'
        "\t\t\tInputs = {\n"
        f'\t\t\t\tX = Input {{ SourceOp = "{name}__X", Source = "Value", }},\n'
        f'\t\t\t\tY = Input {{ SourceOp = "{name}__Y", Source = "Value", }},\n'
        "\t\t\t},\n"
        "\t\t},\n"
    )


def _splines(point: KeyedPoint, size: tuple[int, int], start: int) -> Iterator[str]:
    height, width = size
    across = [(key.x + HALF) / width for key in point.keys]
    up = [1 - (key.y + HALF) / height for key in point.keys]
    for axis, values in (("X", across), ("Y", up)):
        yield f"\t\t{point.name}__{axis} = BezierSpline {{\n"
        yield f"\t\t\tSplineColor = {{ {COLOURS[axis]} }},\n\t\t\tKeyFrames = {{\n"
        yield _keys(point.keys, values, start)
        yield "\t\t\t},\n\t\t},\n"


def _keys(keys: Sequence[Key], values: Sequence[float], start: int) -> str:
    rows = (
        f"\t\t\t\t[{key.t + start}] = {{ {value:.9f}, Flags = {{ Linear = true }} }},\n"
        for key, value in zip(keys, values, strict=True)
    )
    return "".join(rows)


def _lua_text(text: str) -> str:
    """A text as Lua writes it, in which nothing ends it early."""
    parts = []
    for byte in text.encode("utf-8", "replace"):
        letter = chr(byte)
        is_plain = " " <= letter <= "~" and letter not in '"\\'
        parts.append(letter if is_plain else f"\\{byte:03d}")
    return '"' + "".join(parts) + '"'
