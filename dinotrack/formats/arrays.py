"""Between arrays of positions and points with keys."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from dinotrack.formats.format import Key, KeyedPoint

NAN = float("nan")


def keyed_points(
    xy: Float[np.ndarray, "N T 2"],
    visible: Bool[np.ndarray, "N T"],
    confidence: Float[np.ndarray, "N T"],
    names: Sequence[str],
    queries: Float[np.ndarray, "N 3"] | None = None,
) -> list[KeyedPoint]:
    """The points of arrays whose first frame is that of the video.

    xy: px; a point has no key where this is not finite. queries: (t, x, y), where they are known.
    """
    there = np.isfinite(xy).all(axis=-1)
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
