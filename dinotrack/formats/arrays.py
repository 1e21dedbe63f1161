"""Between arrays of positions and points with keys, and whether arrays can be written at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from dinotrack.errors import InputError, shown
from dinotrack.formats.format import Key, KeyedPoint
from dinotrack.formats.opening import Unreadable
from dinotrack.tracks import Tracks

NAN = float("nan")
MOST_KEYS = 1 << 23
"""Places that are taken from a file; a small one can hold any number of the same."""


def keyed_points(
    xy: Float[np.ndarray, "N T 2"],
    visible: Bool[np.ndarray, "N T"],
    confidence: Float[np.ndarray, "N T"],
    names: Sequence[str],
    queries: Float[np.ndarray, "N 3"] | None = None,
) -> list[KeyedPoint]:
    """The points of arrays whose first frame is that of the video.

    xy: px; a point has no key where this is not finite. queries: (t, x, y), where they are known.
    Raises Unreadable where there are more keys than memory is for.
    """
    there = np.isfinite(xy).all(axis=-1)
    if there.sum() > MOST_KEYS:
        raise Unreadable(f"it holds more than {MOST_KEYS} places of points; give fewer points")
    found = []
    for p, name in enumerate(names):
        frames = np.flatnonzero(there[p])
        columns = (xy[p, frames].tolist(), visible[p, frames].tolist(), confidence[p, frames])
        keys = tuple(
            Key(t, x, y, seen, trust)
            for t, (x, y), seen, trust in zip(
                frames.tolist(), columns[0], columns[1], columns[2].tolist(), strict=True
            )
        )
        query = None if queries is None else tuple(queries[p].tolist())
        found.append(KeyedPoint(name, keys, query))
    return found


def check_sound(path: Path, tracks: Tracks) -> None:
    """Raise InputError for tracks that no file can hold: without frames, with what is no number,
    or with a name that holds half a letter.

    path: the file that they are to be written into.
    """
    if tracks.visible.shape[1] == 0:
        raise InputError(f"{path}: these tracks have no frame; give some that do")
    numbers = (tracks.xy, tracks.confidence, tracks.queries, np.array(tracks.fps))
    is_finite = all(bool(np.isfinite(values).all()) for values in numbers)
    if not is_finite or tracks.fps <= 0:
        raise InputError(
            f"{path}: a position, a confidence, a query or the frame rate of these tracks is no "
            "number that can be; mend them, or leave these points out"
        )
    for name in tracks.names or ():
        if not name.isascii() and name.encode("utf-8", "replace").decode() != name:
            raise InputError(f"{path}: the name {shown(name)} can't be written; give another one")
