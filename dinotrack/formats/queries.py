"""Query points of files: tables, JSON, and numpy's arrays."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dinotrack.errors import InputError, shown
from dinotrack.formats.numpy_files import Look, open_npz, read_npy
from dinotrack.formats.opening import Unreadable, opened, size_of
from dinotrack.formats.tables import Table, decoded
from dinotrack.points import MOST_POINTS, QueryRows, check_count, check_query_shape, query_array

KIND = "queries"
"""What messages call these files."""
MOST_BYTES = 128 << 20
"""Of a text; for each of MOST_POINTS that is three times what t, x and y take."""
NAMES = ("queries", "query")
"""What the array of an .npz file may be called, best first."""


def read_queries(path: str | Path) -> QueryRows:
    """The query points (t, x, y) of a file, and where in it each was read.

    Frames count from 0; x and y are in pixels of the video, with (0, 0) the centre of the top-left
    pixel. The file is a table with a header that has t, x and y (.csv, .tsv, .txt); JSON, a list
    of [t, x, y]; .npy [N, 3]; or .npz with `queries` or `query`. Whether the points lie in a video
    is for `points.check_queries` to say.

    Raises InputError that names the file, and the row, where the file is malformed.
    """
    path = Path(path)
    reader = QUERY_FORMATS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(QUERY_FORMATS)
        raise InputError(f"{path}: queries are read from {known} files; give one of these")
    found = reader(path)
    if isinstance(found, QueryRows):
        return found
    return QueryRows(query_array(found, str(path)), str(path))


def _table_rows(path: Path) -> QueryRows:
    lines: list[int] = []
    rows: list[list[float]] = []
    for line, row in Table(str(path), _content(path), ("t", "x", "y")).rows():
        lines.append(line)
        rows.append(row)
        check_count(len(rows), str(path))
    return _query_rows(path, rows, tuple(lines))


def _json_rows(path: Path) -> QueryRows:
    content = _content(path)
    if content.count(b"[") > MOST_POINTS + 1 or content.count(b",") > 3 * MOST_POINTS:
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
    return _query_rows(path, [_json_row(row, f"{path}, row {i}") for i, row in enumerate(values)])


def _json_row(row: list[Any], place: str) -> list[float]:
    if len(row) != 3 or not all(type(value) in (int, float) for value in row):
        raise InputError(
            f"{place} (counted from 0): {shown(row)} is not three numbers t, x, y; give these"
        )
    return [_float(value) for value in row]


def _float(value: float) -> float:
    """Whole numbers of any length as float64; infinite where it can't hold them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _query_rows(path: Path, rows: list[list[float]], lines: tuple[int, ...] = ()) -> QueryRows:
    if not rows:
        raise InputError(f"{path}: holds no query; give at least one row of t, x, y")
    return QueryRows(np.array(rows, np.float64), str(path), lines)


def _content(path: Path) -> bytes:
    with opened(path, KIND) as file:
        if size_of(file) > MOST_BYTES:
            raise Unreadable(f"it is larger than {MOST_BYTES >> 20} MB; give t, x and y alone")
        return file.read()


def _npy_rows(path: Path) -> npt.NDArray[Any]:
    return read_npy(path, KIND, _look(str(path)))


def _npz_rows(path: Path) -> npt.NDArray[Any]:
    with open_npz(path, KIND) as archive:
        for name in NAMES:
            if name in archive.members:
                return archive.read(name, _look(f"{path}: {name}"))
        found = ", ".join(shown(name) for name in archive.members) or "nothing"
        raise InputError(f"{path}: has neither `queries` nor `query`, only {found}")


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
