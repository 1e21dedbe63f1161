"""Corrections of files: where a hand placed points besides their queries, and where it hid them.

docs/formats.md tells what such files look like.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dinotrack.errors import Argument, InputError, shown
from dinotrack.files import replacing
from dinotrack.formats.arrays import keyed_points
from dinotrack.formats.correction_rows import Book, CorrectionRows, Roll, check_count
from dinotrack.formats.csv_tables import is_whole_csv
from dinotrack.formats.format import Clip, Format, Key, KeyedPoint
from dinotrack.formats.numpy_files import any_numbers, open_npz, read_npy
from dinotrack.formats.programs import FORMATS, format_by_ending, format_of, read_points
from dinotrack.formats.tables import Table
from dinotrack.formats.texts import content_of, read_json
from dinotrack.points import FileRows
from dinotrack.tracks import Tracks

KIND = "corrections"
"""What messages call these files."""
HEADER = "point,t,x,y,visible,until"
"""The columns of a table of ours."""
SPARSE = ("x", "y", "visible", "until")
"""Those of which cells may be empty."""
WIDTHS = {"corrections": 4, "hidden": 3}
"""Numbers of a row, by what JSON and .npz files call the rows."""
EXAMPLE = '{"corrections": [[point, t, x, y], ...], "hidden": [[point, first, last], ...]}'


def read_corrections(
    path: str | Path,
    names: Sequence[str],
    *,
    start_frame: int | None = None,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
) -> CorrectionRows:
    """The corrections of a file, and where in it each was read.

    Frames count from 0; x and y are in pixels of the video. The file is a table with the columns
    point, t, x and y, and perhaps visible and until (.csv, .tsv, .txt); JSON, a list of
    [point, t, x, y], or an object with `corrections` and `hidden`; .npy [M, 4]; or .npz with these
    two. Or it is of another program: then a point is placed in every frame that has a key of its
    name, and hidden where that key is not visible or not in the picture.

    names: what the queries are called, in their order. start_frame, size (H, W) px and frames: what
    is known of the video, for files of other programs and for a tracks.csv of ours: the number that
    its first frame has there, and how many there are.

    Raises InputError that names the file, and the row, where the file is malformed or names a point
    that is not there. Whether corrections lie in the video is for `points.check_corrections`.
    """
    path = Path(path)
    roll = Roll(names)
    other = program_of(path)
    reader = CORRECTION_FORMATS.get(path.suffix.lower())
    if other is None and reader is None:
        other = format_by_ending(path)  # which says what is wrong
    if other is not None:
        start = other.first_frame if start_frame is None else start_frame
        clip = Clip(start, size, frames, is_start_usual=start_frame is None)
        return _program_rows(other, path, clip, roll)
    if reader is None:
        endings = [each.ending for each in FORMATS.values() if each.read]
        known = ", ".join(dict.fromkeys([*CORRECTION_FORMATS, *endings]))
        raise InputError(f"{path}: corrections are read from {known} files; give one of these")
    found = reader(path, roll)
    is_of_tracks = path.suffix.lower() == ".csv" and is_whole_csv(path)
    return found.counted_from(start_frame) if start_frame and is_of_tracks else found


def program_of(path: Path) -> Format | None:
    """The format of the other program that a file of corrections is of; None for those of ours.

    The first keys of such a file can be queries as well. A tracks.csv counts as one of ours: the
    rows that somebody left in it are corrections.
    """
    found = format_of(path, None, reads=True)
    return None if found is FORMATS["csv"] else found


def save_corrections(
    path: Path, corrections: Float[np.ndarray, "M 4"], hidden: Int[np.ndarray, "K 3"]
) -> None:
    """Write corrections as a table, which `read_corrections` reads to the last bit.

    corrections: float32 rows of (point, t, x, y). hidden: rows of (point, first and last frame).
    Raises InputError where the file can't be written.
    """
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{HEADER}\n")
        for point, t, x, y in corrections:  # as text the shortest number that is the same float32
            file.write(f"{point:.0f},{t:.0f},{x!s},{y!s},1,\n")
        for point, first, last in hidden.tolist():
            file.write(f"{point},{first},,,0,{last}\n")


# --- files of ours


def _table_rows(path: Path, roll: Roll) -> CorrectionRows:
    book = Book(path)
    table = Table(str(path), content_of(path, KIND), ("t", "x", "y"), "point", SPARSE)
    for line, numbers, word in table.rows():
        where = f"{path}, line {line}"
        if word is None:
            raise InputError(f"{path}: no column is called point; let the first line be {HEADER}")
        if not word:
            raise InputError(f"{where}: point is empty; give its number, counted from 0, or name")
        t, x, y, _, until = numbers
        point = roll.number(word, where)
        if _is_hidden(numbers, where):
            book.hidden.append((point, t, t if math.isnan(until) else until))
            book.hidden_at.append(line)
        else:
            book.placed.append((point, t, x, y))
            book.placed_at.append(line)
        book.check_count()
    return book.rows()


def _is_hidden(numbers: Sequence[float], where: str) -> bool:
    """Whether a row of t, x, y, visible and until, NaN where a cell is empty, hides its point.

    Raises InputError where it may be a stretch or a place.
    """
    no_x, no_y, unsaid, no_end = map(math.isnan, numbers[1:])
    visible = numbers[3]
    if visible == 0 or (unsaid and no_x and no_y and not no_end):
        return True
    if not unsaid and visible != 1:
        raise InputError(f"{where}: visible = {visible:g}; give 1, or 0 where the point is hidden")
    if no_x or no_y:
        raise InputError(
            f"{where}: {'x' if no_x else 'y'} is empty; give x and y, or 0 as visible where the "
            "point is hidden"
        )
    if not no_end:
        raise InputError(
            f"{where}: until ends a hidden stretch, and a place is of one frame; leave until "
            "empty, or x and y"
        )
    return False


def _json_rows(path: Path, roll: Roll) -> CorrectionRows:
    values = read_json(path, KIND)
    if isinstance(values, list):
        values = {"corrections": values}
    if not isinstance(values, dict) or not values or not values.keys() <= WIDTHS.keys():
        raise InputError(f"{path}: is neither [[point, t, x, y], ...] nor {EXAMPLE}")
    book = Book(path)
    for name, rows in (("corrections", book.placed), ("hidden", book.hidden)):
        listed = values.get(name, [])
        if not isinstance(listed, list):
            raise InputError(f"{path}: {name} is no list; give {EXAMPLE}")
        check_count(len(listed), path)
        for number, row in enumerate(listed):
            rows.append(_json_row(row, name, roll, f"{path}: {name}, row {number}"))
    found = book.rows()
    return _labelled(path, found.placed.rows, found.hidden.rows)


def _json_row(row: Any, name: str, roll: Roll, where: str) -> list[float]:
    """A row whose point is a number or a name."""
    if isinstance(row, list) and len(row) == WIDTHS[name]:
        point, *rest = row
        if {type(value) for value in rest} <= {int, float} and type(point) in (int, str):
            number = roll.named(point, where) if isinstance(point, str) else point
            try:
                return [float(value) for value in (number, *rest)]
            except OverflowError:
                pass
    wanted = "point, t, x, y" if name == "corrections" else "point, first frame, last frame"
    raise InputError(f"{where} (counted from 0): {shown(row)} is not {wanted}; give these")


def _npy_rows(path: Path, roll: Roll) -> CorrectionRows:
    return _array_rows(path, {"corrections": read_npy(path, KIND, any_numbers)})


def _npz_rows(path: Path, roll: Roll) -> CorrectionRows:
    with open_npz(path, KIND) as archive:
        arrays = {name: archive.read(name) for name in WIDTHS if name in archive.members}
    if not arrays:
        raise InputError(f"{path}: has neither `corrections` nor `hidden`; give one")
    return _array_rows(path, arrays)


def _array_rows(path: Path, arrays: Mapping[str, np.ndarray]) -> CorrectionRows:
    """Rows of arrays, whose points are numbers. Raises InputError where they have other forms."""
    rows = []
    for name, width in WIDTHS.items():
        values = arrays.get(name, np.zeros((0, width)))
        if values.ndim != 2 or values.shape[1] != width or values.dtype.kind not in "iuf":
            raise InputError(
                f"{path}: {name} are {values.dtype} {list(values.shape)}; give numbers [M, {width}]"
            )
        check_count(len(values), path)
        rows.append(values.astype(np.float64))
    return _labelled(path, *rows)


def _labelled(
    path: Path, placed: Float[np.ndarray, "M 4"], hidden: Float[np.ndarray, "K 3"]
) -> CorrectionRows:
    """Rows of a file that has two lists of them, each of which has a row 0."""
    return CorrectionRows(
        FileRows(placed, f"{path}: corrections"), FileRows(hidden, f"{path}: hidden")
    )


CORRECTION_FORMATS: dict[str, Callable[[Path, Roll], CorrectionRows]] = {
    ".csv": _table_rows,
    ".tsv": _table_rows,
    ".txt": _table_rows,
    ".json": _json_rows,
    ".npy": _npy_rows,
    ".npz": _npz_rows,
}
"""What corrections are read from: the end of a file's name -> the function that reads its rows."""


# --- files of other programs


def _program_rows(other: Format, path: Path, clip: Clip, roll: Roll) -> CorrectionRows:
    """The keys of a file of another program, by the names of its points.

    A point that it never shows, and that nobody asked for, is left out, as it is of queries.
    """
    found = read_points(other, path, clip)
    if isinstance(found, Tracks):
        known = keyed_points(found.xy, found.visible, found.confidence, found.point_names)
    else:
        known = list(found.points)
    book = Book(path)
    for point in known:
        _check_frames(point, clip, path)
        if point.name not in roll and not any(key.visible for key in point.keys):
            continue
        number = roll.named(point.name, str(path))
        keys = sorted(point.keys, key=lambda key: key.t)
        seen = [key for key in keys if key.visible and _is_inside(key, clip.size)]
        gone = {key.t for key in keys} - {key.t for key in seen}
        book.placed += [(number, key.t, key.x, key.y) for key in seen]
        book.hidden += [(number, *stretch) for stretch in _stretches(sorted(gone))]
        book.check_count()
    return book.rows()


def _check_frames(point: KeyedPoint, clip: Clip, path: Path) -> None:
    """Raise InputError for a key in a frame that the video does not have."""
    for key in point.keys:
        if key.t < 0 or (clip.frames is not None and key.t >= clip.frames):
            raise InputError(
                f"{path}: point {shown(point.name)} has a key in frame {shown(key.t)} of "
                f"{clip.frames}, counted from 0; say which number the first frame has with ",
                Argument("start_frame"),
            )


def _is_inside(key: Key, size: tuple[int, int] | None) -> bool:
    """Whether a key lies in the picture, which reaches from -0.5 to W - 0.5 px."""
    if size is None:
        return True
    return -0.5 <= key.x <= size[1] - 0.5 and -0.5 <= key.y <= size[0] - 0.5


def _stretches(frames: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last frame of each run of frames that follow each other."""
    ends = [i for i, t in enumerate(frames) if frames[i + 1 : i + 2] != [t + 1]]
    start = 0
    for end in ends:
        yield frames[start], frames[end]
        start = end + 1
