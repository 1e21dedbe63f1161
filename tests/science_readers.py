"""What reads, for tests, the files of research tools that dinotrack itself only writes."""

import csv
import importlib
import math
from collections.abc import Callable
from pathlib import Path

from dinotrack.formats import Clip, Found, Key, KeyedPoint

BOX = 10
"""Px of the sides of MOT's boxes."""

Places = dict[str, dict[int, tuple[float, float]]]
"""By the name of a point and the frame of the file: where it is, as the file says."""


def read_with(
    places: Callable[[Path], Places], shift: float, is_counted: bool = True
) -> Callable[[Path, Clip], Found]:
    """A reader of a format, in which the top-left pixel has its centre at (shift, shift).

    is_counted: whether frames have numbers, that may start anywhere; else they count from 0.
    """

    def read(path: Path, clip: Clip) -> Found:
        start = clip.start_frame if is_counted else 0
        points = []
        for name, found in places(path).items():
            keys = (Key(t - start, x - shift, y - shift) for t, (x, y) in found.items())
            points.append(KeyedPoint(name, tuple(keys)))
        return Found(points)

    return read


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def csv_wide(path: Path) -> Places:
    """Of a row a frame, the visible places."""
    rows = _rows(path)
    names = [name.removesuffix("_visible") for name in rows[0] if name.endswith("_visible")]
    return {
        name: {
            int(row["frame"]): (float(row[f"{name}_x"]), float(row[f"{name}_y"]))
            for row in rows
            if row[f"{name}_visible"] == "1"
        }
        for name in names
    }


def mot(path: Path) -> Places:
    """The middles of the boxes."""
    places: dict[int, dict[int, tuple[float, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.reader(file):
            left, top, width, height = map(float, row[2:6])
            assert (width, height) == (BOX, BOX)
            middle = (left + width / 2, top + height / 2)
            places.setdefault(int(row[1]), {})[int(row[0])] = middle
    return {str(number): places[number] for number in sorted(places)}


def dltdv(path: Path) -> Places:
    """What is no NaN; a row is a frame."""
    rows = _rows(path)
    numbers = range(1, len(rows[0]) // 2 + 1)
    return {
        str(n): {
            t: (float(row[f"pt{n}_cam1_X"]), float(row[f"pt{n}_cam1_Y"]))
            for t, row in enumerate(rows)
            if not math.isnan(float(row[f"pt{n}_cam1_X"]))
        }
        for n in numbers
    }


def rerun(path: Path) -> Places:
    """The points of each entity, by the label that it has."""
    labels: dict[str, str] = {}
    places: dict[str, dict[int, tuple[float, float]]] = {}
    for chunk in importlib.import_module("rerun.chunk").RrdReader(str(path)).stream():
        columns = chunk.to_record_batch().to_pydict()
        entity = str(chunk.entity_path)
        if "Points2D:labels" in columns:
            labels[entity] = columns["Points2D:labels"][0][0]
        for t, found in zip(
            columns.get("frame", ()), columns.get("Points2D:positions", ()), strict=False
        ):
            if found:
                places.setdefault(entity, {})[t] = tuple(found[0])
    return {labels[entity]: found for entity, found in places.items()}
