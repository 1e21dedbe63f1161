"""The arrays of TAP-Vid, as tapnet has them: fractions of the picture, and what is occluded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dinotrack.errors import InputError
from dinotrack.files import replacing
from dinotrack.formats.arrays import NAN, keyed_points
from dinotrack.formats.format import Clip, Found, Wishes
from dinotrack.formats.numpy_files import Archive, open_npz
from dinotrack.formats.opening import Unreadable
from dinotrack.tracks import Tracks

KIND = "arrays of TAP-Vid"
"""What messages call these files."""
HALF = 0.5
"""In tapnet, the top-left pixel has its corner at (0, 0), and its centre here."""


def write_tapvid(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `tapvid`: `points` [N, T, 2], fractions (x, y) of the picture, `occluded` [N, T]
    and `query_points` [N, 3], (t, y, x) with px counted from the corner.

    Frames are those of the video. Besides there are `size` (H, W), `fps`, and `names` where points
    have names. Where hidden points are not wished, `points` holds NaN there.
    """
    height, width = tracks.size
    points = (tracks.xy.astype(np.float64) + HALF) / (width, height)
    if wishes.only_visible:
        points[~tracks.visible] = NAN
    queries = tracks.queries[:, [0, 2, 1]] + np.array((0, HALF, HALF), np.float32)
    named: dict[str, Any] = {}
    if tracks.names is not None:
        named["names"] = np.array(tracks.names, np.str_)
    with replacing(path) as part, part.open("wb") as file:
        np.savez(
            file,
            points=points.astype(np.float32),
            occluded=~tracks.visible,
            query_points=queries,
            size=np.array(tracks.size, np.int64),
            fps=np.array(tracks.fps, np.float64),
            **named,
        )


def is_tapvid(path: Path) -> bool:
    """Whether an .npz file holds points with what is occluded."""
    try:
        with open_npz(path, KIND) as archive:
            return {"points", "occluded"} <= archive.members.keys()
    except InputError:
        return False


def read_tapvid(path: Path, clip: Clip) -> Found:
    """The inverse of `write_tapvid`. Where the file has no `size`, it has to be known."""
    with open_npz(path, KIND) as archive:
        points = _array(archive, "points", "f", (None, None, 2))
        count, frames, _ = points.shape
        occluded = _array(archive, "occluded", "biu", (count, frames)).astype(bool)
        size = fps = queries = None
        if "size" in archive.members:
            height, width = _array(archive, "size", "iu", (2,)).tolist()
            size = (height, width)
        if "fps" in archive.members:
            fps = float(_array(archive, "fps", "f", ()))
        if "query_points" in archive.members:
            found = _array(archive, "query_points", "iuf", (count, 3))
            queries = found[:, [0, 2, 1]].astype(np.float64) - (0, HALF, HALF)
        names = [f"point_{i}" for i in range(count)]
        if "names" in archive.members:
            names = _array(archive, "names", "U", (count,)).tolist()
        height, width = size or clip.needed_size(path)
        xy = points.astype(np.float64) * (width, height) - HALF
        seen = ~occluded
        keyed = keyed_points(xy, seen, seen.astype(np.float64), names, queries)
        return Found(keyed, size, frames, fps)


def _array(archive: Archive, name: str, kinds: str, wanted: tuple[int | None, ...]) -> np.ndarray:
    """An array of the file. Raises Unreadable for other numbers and other sides."""

    def look(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        is_right = len(shape) == len(wanted) and dtype.kind in kinds
        sides = zip(shape, wanted, strict=False)
        if not is_right or any(meant not in (None, side) for side, meant in sides):
            raise Unreadable(f"its `{name}` is {dtype} {list(shape)}")

    return archive.read(name, look)
