"""The points that are asked for, as arrays: the user's own, or a grid of them.

What is wrong with them is found out here, before anything is computed.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from dinotrack.defaults import GRID
from dinotrack.errors import Argument, InputError, printable, shown
from dinotrack.masks import as_masks
from dinotrack.plain import plain_array
from dinotrack.video import Video

MOST_POINTS = 1_000_000
"""That are tracked at once. A point takes about 50 ms for each 24 small frames, so a million of
them are half a day even there, and each takes 13 bytes a frame of memory and of tracks.npz."""
FIELDS = 6
"""By so many fields to each side a picture is divided, to see how much of it points cover."""


@dataclass(frozen=True)
class FileRows:
    """Rows of numbers of a file, and where in the file each was read."""

    rows: Float[np.ndarray, "N C"]
    """float64."""
    path: str
    lines: tuple[int, ...] = ()
    """The line of each row, counted from 1, as editors do. Empty for files without lines."""

    def place(self, row: int) -> str:
        """What messages call a row, which is counted from 0."""
        if self.lines:
            return f"{self.path}, line {self.lines[row]}"
        return f"{self.path}, row {row} (counted from 0)"


@dataclass(frozen=True)
class QueryRows(FileRows):
    """Queries of a file: rows of (t, x, y)."""

    names: tuple[str, ...] | None = None
    """What the point of each row is called; None where the file does not say."""


def choose_queries(
    video: Video,
    queries: Any = None,
    *,
    grid: Any = None,
    query_frame: Any = None,
    mask: Any = None,
) -> Float[np.ndarray, "N 3"]:
    """The queries, checked, or a grid of them: float32 rows of (t, x, y) in px of the video.

    queries: an array, a list, a tensor, or QueryRows. Without them, `grid` is GRID and
    `query_frame` 0 where they are None; a mask has the size of the frames.

    Raises InputError for queries outside the video, for queries together with what chooses a grid,
    and for whatever else a user may give for one of these.
    """
    length = len(video.frames)
    if queries is not None:
        if any(choice is not None for choice in (grid, query_frame, mask)):
            raise InputError(
                "queries are the points themselves, and a grid of points needs none; "
                "give either queries, or grid, query_frame and mask"
            )
        return check_queries(queries, length, video.size)
    side = whole_number(GRID if grid is None else grid, "grid", GRID)
    frame = whole_number(0 if query_frame is None else query_frame, "query_frame", 0)
    if not 0 <= frame < length:
        raise InputError(
            Argument("query_frame"),
            f": t = {shown(frame)}, but it must be a whole number in [0, {length - 1}] "
            f"for {length} frames",
        )
    held = None if mask is None else as_masks(mask, video.size, "mask")
    return grid_queries(side, video.size, frame, held)


def choose_names(names: Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    """Names of points, checked, each on one line and without what no file and no terminal can show.

    Raises InputError where there is not one text for each point.
    """
    if names is None:
        return None
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise InputError(f"names={shown(names)} are no texts; give one for each point")
    if len(names) != count:
        raise InputError(f"{len(names)} names are given for {count} points; give one for each")
    return tuple(map(printable, names))


def check_corrections(corrections: Any, video: Video, count: int) -> Float[np.ndarray, "M 4"]:
    """Corrections as float32 rows of (point, t, x, y), or InputError that names the first bad one.

    corrections: FileRows, or numbers [M, 4]; None stands for none. A point is the number of one of
    `count` queries, counted from 0; t, x and y have the bounds of queries.
    """
    given = _rows_of(corrections, "corrections", "[M, 4]", ("point", "t", "x", "y"))
    exact = given.rows
    if not len(exact):
        return exact.astype(np.float32)
    point = exact[:, 0]
    wrong = ~((point >= 0) & (point < count) & (point == np.floor(point)))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{given.place(row)}: point = {point[row]:g}, but there are {count} points; "
            f"give a whole number in [0, {count - 1}]"
        )
    rows = QueryRows(exact[:, 1:], given.path, given.lines)
    places = check_queries(rows, len(video.frames), video.size)
    return np.concatenate((point[:, None].astype(np.float32), places), axis=1)


def check_hidden(hidden: Any, video: Video, count: int) -> Int[np.ndarray, "K 3"]:
    """Stretches in which points are hidden, as rows of (point, first frame, last frame).

    hidden: FileRows, or numbers [K, 3]; None stands for none. Frames count from 0, and both of them
    belong to the stretch. Raises InputError that names the first bad one.
    """
    given = _rows_of(hidden, "hidden", "[K, 3]", ("point", "first frame", "last frame"))
    exact = given.rows
    length = len(video.frames)
    most = np.array((count - 1, length - 1, length - 1))
    good = (exact >= 0) & (exact <= most) & (exact == np.floor(exact))
    good[:, 2] &= exact[:, 2] >= exact[:, 1]
    if not good.all():
        row = int(np.argwhere(~good)[0, 0])
        raise InputError(
            f"{given.place(row)}: {shown(exact[row].tolist())} is no point, first and last frame; "
            f"there are {count} points and {length} frames, counted from 0"
        )
    return exact.astype(np.int64)


def corrected_alone(
    queries: Float[np.ndarray, "N 3"],
    corrections: Float[np.ndarray, "M 4"],
    hidden: Int[np.ndarray, "K 3"],
) -> tuple[Float[np.ndarray, "C 3"], Float[np.ndarray, "M 4"], Int[np.ndarray, "L 3"]]:
    """The points that have corrections, as if there were no others: checked queries, corrections
    and hidden stretches, whose points are counted among these alone."""
    points = np.unique(corrections[:, 0]).astype(np.int64)
    made = corrections.copy()
    made[:, 0] = np.searchsorted(points, corrections[:, 0])
    stretches = hidden[np.isin(hidden[:, 0], points)]
    stretches[:, 0] = np.searchsorted(points, stretches[:, 0])
    return queries[points], made, stretches


def coverage(rows: Float[np.ndarray, "N 3"], size: tuple[int, int]) -> float:
    """In which share of the fields of a picture of size (H, W) there are points, in any frame."""
    height, width = size
    fields = ((rows[:, 1:] + 0.5) / (width, height) * FIELDS).astype(int).clip(0, FIELDS - 1)
    return len(np.unique(fields, axis=0)) / FIELDS**2


def _rows_of(values: Any, name: str, shape: str, columns: tuple[str, ...]) -> FileRows:
    """Rows of numbers, those of a file or a caller's own, which messages call by their name; none
    for None. Raises InputError where they are no such rows."""
    if isinstance(values, FileRows):
        return values
    exact = plain_array([] if values is None else values, name)
    if exact.size == 0:
        return FileRows(np.zeros((0, len(columns))), name)
    if exact.ndim != 2 or exact.shape[1] != len(columns) or exact.dtype.kind not in "iuf":
        raise InputError(
            f"{name}: give numbers {shape}, rows of {', '.join(columns)}; not {exact.dtype} "
            f"{list(exact.shape)}"
        )
    return FileRows(exact.astype(np.float64), name)


def whole_number(value: Any, name: str, example: int) -> int:
    """A number of any whole kind. Raises InputError, which calls it by `name`, for another."""
    try:
        return operator.index(value)
    except Exception:  # also what an array of several, or a tensor, raises
        raise InputError(
            f"{name}={shown(value)} is no whole number; give one, as in {name}={example}"
        ) from None


def check_queries(queries: Any, length: int, size: tuple[int, int]) -> Float[np.ndarray, "N 3"]:
    """Queries as float32, or InputError that names the first bad row.

    queries: QueryRows, whose rows are named as their file counts them, or numbers [N, 3], rows of
    (t, x, y), N at least 1, counted from 0. In a video of `length` frames of size (H, W) t is a
    whole number in [0, length - 1], x lies in [-0.5, W - 0.5], y in [-0.5, H - 0.5].
    """
    of_file = queries if isinstance(queries, QueryRows) else None
    exact = query_array(queries, "queries") if of_file is None else of_file.rows
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is refused
        points = exact.astype(np.float32)
    height, width = size
    low = np.array((0.0, -0.5, -0.5))
    high = np.array((length - 1.0, width - 0.5, height - 0.5))
    good = (points >= low) & (points <= high)  # false for NaN
    good[:, 0] &= points[:, 0] == np.floor(points[:, 0])
    if not good.all():
        row, column = (int(index) for index in np.argwhere(~good)[0])
        place = f"query row {row}" if of_file is None else of_file.place(row)
        kind = "a whole number " if column == 0 else ""
        bounds = f"{kind}in [{low[column]:g}, {high[column]:g}]"
        raise InputError(
            f"{place}: {'txy'[column]} = {exact[row, column]:.10g}, but it must be "
            f"{bounds} for {length} frames of {width} x {height}"
        )
    return points


def grid_queries(
    n: int, size: tuple[int, int], frame: int, mask: Bool[np.ndarray, "H W"] | None = None
) -> Float[np.ndarray, "N 3"]:
    """n columns x n rows of points of one frame, row by row, float32.

    They lie in the middle of n x n equal parts of the picture, at ((i + 0.5) W / n - 0.5,
    (j + 0.5) H / n - 0.5). With a mask only those stay whose nearest pixel it holds. Raises
    InputError where no point is left, and for more than MOST_POINTS.
    """
    if n < 1:
        raise InputError(f"a grid of {shown(n)} x {shown(n)} has no points; give 1 or more")
    if n * n > MOST_POINTS:
        raise InputError(
            f"a grid of {shown(n)} x {shown(n)} has too many points; "
            f"give {math.isqrt(MOST_POINTS)} or fewer, for {MOST_POINTS:,} points at most"
        )
    height, width = size
    middles = np.arange(n) + 0.5
    columns, rows = np.meshgrid(middles * width / n - 0.5, middles * height / n - 0.5)
    x = columns.ravel()
    y = rows.ravel()
    queries = np.stack((np.full_like(x, frame), x, y), axis=-1)
    if mask is not None:
        column = np.clip(np.rint(x).astype(int), 0, width - 1)
        row = np.clip(np.rint(y).astype(int), 0, height - 1)
        queries = queries[mask[row, column]]
    if not len(queries):
        raise InputError(
            f"no point of the {n} x {n} grid lies inside the mask; "
            "give a finer grid or another mask"
        )
    return queries.astype(np.float32)


def query_array(values: Any, where: str) -> Float[np.ndarray, "N 3"]:
    """Rows of three numbers as float64, or InputError that says where they are from."""
    array = plain_array(values, where)
    check_query_shape(array.shape, array.dtype, where)
    with np.errstate(over="ignore"):  # longer floats than float64
        return array.astype(np.float64)


def check_query_shape(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Whether an array can be queries, as is known before its values are read.

    Raises InputError, which says where they are from.
    """
    if len(shape) != 2 or shape[1] != 3 or not shape[0] or dtype.kind not in "iuf":
        raise InputError(
            f"{where}: give numbers [N, 3], rows of t, x, y, N at least 1; "
            f"not {dtype} {list(shape)}"
        )
    check_count(shape[0], where)


def check_count(count: int, where: str) -> None:
    """Whether so many points can be tracked at once. Raises InputError."""
    if count > MOST_POINTS:
        raise InputError(
            f"{where}: more than {MOST_POINTS:,} points are too many to track at once; "
            "give fewer, in several files or calls"
        )
