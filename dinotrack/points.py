"""The points that are asked for, as arrays: the user's own, or a grid of them; and masks.

What is wrong with them is found out here, before anything is computed.
"""

import operator
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float

from dinotrack.defaults import GRID
from dinotrack.errors import InputError
from dinotrack.video import Video


def choose_queries(
    video: Video,
    queries: npt.ArrayLike | None,
    *,
    grid: SupportsIndex = GRID,
    query_frame: SupportsIndex = 0,
    mask: npt.ArrayLike | None = None,
) -> Float[np.ndarray, "N 3"]:
    """The queries, checked, or a grid of them: float32 rows of (t, x, y) in px of the video.

    Raises InputError for queries outside the video, and for a mask of another size than its frames.
    """
    held = None if mask is None else as_masks(mask, video.size, "mask")
    if queries is None:
        side = whole_number(grid, "grid")
        queries = grid_queries(side, video.size, whole_number(query_frame, "query_frame"), held)
    return check_queries(queries, len(video.frames), video.size)


def whole_number(value: Any, name: str) -> int:
    """A number of any whole kind. Raises InputError, which calls it by `name`, for another."""
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name}={value!r} is no whole number; give one") from None


def as_masks(masks: npt.ArrayLike, shape: tuple[int, ...], name: str) -> Bool[np.ndarray, "..."]:
    """Masks as bool, true where they are not zero.

    Raises InputError, which calls them by `name`, where they are of another shape.
    """
    values = np.asarray(masks)
    if values.shape != shape:
        raise InputError(
            f"the {name} has shape {values.shape}; give an array of the video's, {shape}"
        )
    return values.astype(np.bool_, copy=False)


def check_queries(queries: Any, length: int, size: tuple[int, int]) -> Float[np.ndarray, "N 3"]:
    """Queries as float32, or InputError that names the first bad row, counted from 0.

    queries: numbers [N, 3], rows of (t, x, y), N at least 1. In a video of `length` frames of size
    (H, W) t is a whole number in [0, length - 1], x lies in [-0.5, W - 0.5], y in [-0.5, H - 0.5].
    """
    points = query_array(queries, "queries").astype(np.float64)
    height, width = size
    low = np.array((0.0, -0.5, -0.5))
    high = np.array((length - 1.0, width - 0.5, height - 0.5))
    good = (points >= low) & (points <= high)  # false for NaN
    good[:, 0] &= points[:, 0] == np.floor(points[:, 0])
    if not good.all():
        row, column = np.argwhere(~good)[0]
        kind = "a whole number in " if column == 0 else ""
        raise InputError(
            f"query row {row}: {'txy'[column]} = {points[row, column]:g}, but it must be "
            f"{kind}[{low[column]:g}, {high[column]:g}] for {length} frames of {width} x {height}"
        )
    return points.astype(np.float32)


def grid_queries(
    n: int, size: tuple[int, int], frame: int, mask: Bool[np.ndarray, "H W"] | None = None
) -> Float[np.ndarray, "N 3"]:
    """n columns x n rows of points of one frame, row by row, float32.

    They lie in the middle of n x n equal parts of the picture, at ((i + 0.5) W / n - 0.5,
    (j + 0.5) H / n - 0.5). With a mask only those stay whose nearest pixel it holds. Raises
    InputError where no point is left.
    """
    if n < 1:
        raise InputError(f"a grid of {n} x {n} has no points; give 1 or more")
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


def query_array(values: Any, where: str | Path) -> Float[np.ndarray, "N 3"]:
    """Rows of three numbers as float32, or InputError that says where they are from."""
    wanted = f"{where}: queries are numbers [N, 3], rows of t, x, y, N at least 1"
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{wanted}; not rows of different lengths") from error
    if array.ndim != 2 or array.shape[1] != 3 or not len(array) or array.dtype.kind not in "iuf":
        raise InputError(f"{wanted}; not {array.dtype} {list(array.shape)}")
    return array.astype(np.float32)
