"""Query points of files: tables, JSON, and numpy's arrays."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dinotrack.errors import InputError, shown
from dinotrack.formats.format import Clip
from dinotrack.formats.found import first_keys
from dinotrack.formats.numpy_files import Archive, Look, open_npz, read_npy
from dinotrack.formats.opening import Unreadable, opened, size_of
from dinotrack.formats.programs import FORMATS, format_by_ending, format_of, read_points
from dinotrack.formats.tables import Table, decoded
from dinotrack.points import MOST_POINTS, QueryRows, check_count, check_query_shape, query_array

KIND = "queries"
"""What messages call these files."""
MOST_BYTES = 128 << 20
"""Of a text; for each of MOST_POINTS that is three times what t, x and y take."""
NAMES = ("queries", "query")
"""What the array of an .npz file may be called, best first."""


def read_queries(
    path: str | Path,
    format: str | None = None,
    *,
    start_frame: int | None = None,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
) -> QueryRows:
    """The query points (t, x, y) of a file, where in it each was read, and their names if any.

    Frames count from 0; x and y are in pixels of the video, with (0, 0) the centre of the top-left
    pixel. The file is a table with a header that has t, x and y (.csv, .tsv, .txt), and may have
    name; JSON, a list of [t, x, y] or [t, x, y, name]; .npy [N, 3]; or .npz with `queries` or
    `query`, and `names`. Or it is of another program: each point is then a query where the first
    frame shows it. Whether the points lie in a video is for `points.check_queries` to say.

    format: the name of the other program's format; by default the file tells it.
    start_frame, size (H, W) px and frames: what is known of the video, for such files: the number
    that its first frame has there, and how many there are.

    Raises InputError that names the file, and the row, where the file is malformed.
    """
    path = Path(path)
    reader = QUERY_FORMATS.get(path.suffix.lower())
    other = format_of(path, format, reads=True)
    if other is None and reader is None:
        other = format_by_ending(path)  # which says what is wrong
    if other is not None:
        start = other.first_frame if start_frame is None else start_frame
        clip = Clip(start, size, frames, is_start_usual=start_frame is None)
        return first_keys(read_points(other, path, clip), path)
    if reader is None:
        endings = [each.ending for each in FORMATS.values() if each.read]
        known = ", ".join(dict.fromkeys([*QUERY_FORMATS, *endings]))
        raise InputError(f"{path}: queries are read from {known} files; give one of these")
    found = reader(path)
    if isinstance(found, QueryRows):
        return found
    return QueryRows(query_array(found, str(path)), str(path))


def _table_rows(path: Path) -> QueryRows:
    lines: list[int] = []
    rows: list[list[float]] = []
    names: list[str] = []
    for line, row, name in Table(str(path), _content(path), ("t", "x", "y")).rows():
        lines.append(line)
        rows.append(row)
        if name is not None:
            names.append(name)
        check_count(len(rows), str(path))
    return _query_rows(path, rows, tuple(lines), names)


def _json_rows(path: Path) -> QueryRows:
    content = _content(path)
    if content.count(b"[") > MOST_POINTS + 1 or content.count(b",") > 4 * MOST_POINTS:
        check_count(MOST_POINTS + 1, str(path))  # known before it takes memory
    try:
        values = json.loads(decoded(content))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: is no JSON ({error.msg}); give [[t, x, y], ...]"
        ) from None
    except (ValueError, RecursionError) as error:  # too many digits, too many brackets
        raise InputError(f"{path}: is no list of queries; give [[t, x, y], ...]") from error
    if not isinstance(values, list) or not all(isinstance(row, list) for row in values):
        raise InputError(f"{path}: is no JSON list of lists; give [[t, x, y], ...]")
    rows = [_json_row(row, f"{path}, row {i}") for i, row in enumerate(values)]
    names = [row[3] for row in values if len(row) == 4]
    if names and len(names) < len(values):
        raise InputError(f"{path}: some points have names and some have none; name all of them")
    return _query_rows(path, rows, names=names)


def _json_row(row: list[Any], place: str) -> list[float]:
    numbers, rest = row[:3], row[3:]
    is_named = not rest or (len(rest) == 1 and isinstance(rest[0], str))
    if len(numbers) != 3 or not all(type(value) in (int, float) for value in numbers):
        is_named = False
    if not is_named:
        raise InputError(
            f"{place} (counted from 0): {shown(row)} is not three numbers t, x, y, and a name "
            "where points have one; give these"
        )
    return [_float(value) for value in numbers]


def _float(value: float) -> float:
    """Whole numbers of any length as float64; infinite where it can't hold them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _query_rows(
    path: Path,
    rows: list[list[float]],
    lines: tuple[int, ...] = (),
    names: Sequence[str] = (),
) -> QueryRows:
    if not rows:
        raise InputError(f"{path}: holds no query; give at least one row of t, x, y")
    return QueryRows(np.array(rows, np.float64), str(path), lines, tuple(names) or None)


def _content(path: Path) -> bytes:
    with opened(path, KIND) as file:
        if size_of(file) > MOST_BYTES:
            raise Unreadable(f"it is larger than {MOST_BYTES >> 20} MB; give t, x and y alone")
        return file.read()


def _npy_rows(path: Path) -> npt.NDArray[Any]:
    return read_npy(path, KIND, _look(str(path)))


def _npz_rows(path: Path) -> QueryRows:
    with open_npz(path, KIND) as archive:
        for name in NAMES:
            if name in archive.members:
                found = archive.read(name, _look(f"{path}: {name}"))
                labels = _labels(archive, len(found))
                return QueryRows(query_array(found, str(path)), str(path), names=labels)
        members = ", ".join(shown(name) for name in archive.members) or "nothing"
        raise InputError(f"{path}: has neither `queries` nor `query`, only {members}")


def _labels(archive: Archive, count: int) -> tuple[str, ...] | None:
    """The names of points, where there is one for each."""

    def look(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if shape != (count,) or dtype.kind != "U":
            raise Unreadable(f"its `names` are {dtype} {list(shape)}, not {count} texts")

    return tuple(archive.read("names", look).tolist()) if "names" in archive.members else None


def _look(where: str) -> Look:
    return lambda shape, dtype: check_query_shape(shape, dtype, where)


QUERY_FORMATS: dict[str, Callable[[Path], QueryRows | npt.ArrayLike]] = {
    ".csv": _table_rows,
    ".tsv": _table_rows,
    ".txt": _table_rows,
    ".json": _json_rows,
    ".npy": _npy_rows,
    ".npz": _npz_rows,
}
"""What queries are read from: the end of a file's name -> the function that reads its rows."""
