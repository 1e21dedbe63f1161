"""Tracks as JSON that says what it holds, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dinotrack.formats.format import Clip, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.opening import Unreadable, opened
from dinotrack.formats.texts import read_json, start_of, write_text
from dinotrack.tracks import Tracks

KIND = "a JSON file of tracks"
"""What messages call these files."""
MARK = "dinotrack tracks"
"""What the field `format` holds."""
ABOUT = (
    "x and y are px, (0, 0) is the centre of the top-left pixel, y grows downwards; lists hold a "
    "value for each frame, the first one for first_frame; query is [t, x, y]"
)


def write_json(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `json`: what ABOUT says, with x and y null where hidden points are not wished."""
    write_text(path, _parts(tracks, wishes))


def _parts(tracks: Tracks, wishes: Wishes) -> Iterator[str]:
    """The text, a line for each point, as there may be many."""
    height, width = tracks.size
    head: dict[str, Any] = {
        "format": MARK,
        "about": ABOUT,
        "width": width,
        "height": height,
        "fps": tracks.fps,
        "first_frame": wishes.start_frame,
        "frames": tracks.visible.shape[1],
    }
    if tracks.uneven_times is not None:
        head["times"] = tracks.uneven_times.tolist()
    yield json.dumps(head)[:-1] + ', "points": ['
    for p, name in enumerate(tracks.point_names):
        left_out = ~tracks.visible[p] & wishes.only_visible
        query = _short(tracks.queries[p])
        query[0] += wishes.start_frame
        point = {
            "name": name,
            "query": query,
            "x": _without(_short(tracks.xy[p, :, 0]), left_out),
            "y": _without(_short(tracks.xy[p, :, 1]), left_out),
            "visible": tracks.visible[p].tolist(),
            "confidence": _short(tracks.confidence[p]),
        }
        yield ("\n" if p == 0 else ",\n") + json.dumps(point)
    yield "\n]}\n"


def _short(values: npt.NDArray[np.float32]) -> list[float]:
    """The shortest decimals that give the same float32 again."""
    return [float(text) for text in values.astype(np.float32).astype(np.str_).tolist()]


def _without(values: list[float], left_out: npt.NDArray[np.bool_]) -> list[float | None]:
    return [None if gone else value for value, gone in zip(values, left_out, strict=True)]


def is_json(path: Path) -> bool:
    """Whether a JSON file is one of ours."""
    start = start_of(path)
    return start.startswith("{") and f'"{MARK}"' in start


def read_json_tracks(path: Path, clip: Clip) -> Found:
    """The inverse of `write_json`; nothing else needs to be known."""
    held = read_json(path, KIND)
    with opened(path, KIND):  # in which whatever is missing or of another kind is told
        if held["format"] != MARK:
            raise Unreadable(f"its format is not {MARK}")
        times = held.get("times")
        return Found(
            points=[_point(point, held["first_frame"], held["frames"]) for point in held["points"]],
            size=(_count(held["height"]), _count(held["width"])),
            frames=_count(held["frames"]),
            fps=float(held["fps"]),
            uneven_times=None if times is None else tuple(map(float, times)),
        )


def _point(point: dict[str, Any], first: int, frames: int) -> KeyedPoint:
    columns = [point[name] for name in ("x", "y", "visible", "confidence")]
    if {len(column) for column in columns} != {frames}:
        raise Unreadable(f"a point has not one value for each of {frames} frames")
    keys = tuple(
        Key(t, float(x), float(y), bool(seen), float(trust))
        for t, (x, y, seen, trust) in enumerate(zip(*columns, strict=True))
        if x is not None
    )
    t, x, y = map(float, point["query"])
    return KeyedPoint(str(point["name"]), keys, (t - first, x, y))


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise Unreadable("its size or its number of frames can't be")
    return value
