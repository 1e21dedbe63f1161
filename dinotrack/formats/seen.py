"""Points where they are seen, as most programs of visual effects hold them: what is hidden has no
key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dinotrack.errors import InputError
from dinotrack.formats.format import Key, KeyedPoint
from dinotrack.tracks import Tracks


def seen_points(path: Path, tracks: Tracks, names: Sequence[str]) -> Iterator[KeyedPoint]:
    """Each point that is visible somewhere, with a key in each frame in which it is, in order.

    path: the file that is to be written. names: what the points are called there. Raises
    InputError where all points are hidden everywhere.
    """
    if not tracks.visible.any():
        raise InputError(f"{path}: no point is visible in any frame; choose others to write")
    return _points(tracks, names)


def _points(tracks: Tracks, names: Sequence[str]) -> Iterator[KeyedPoint]:
    for name, visible, xy in zip(names, tracks.visible, tracks.xy, strict=True):
        frames = np.flatnonzero(visible)
        rows = zip(frames.tolist(), xy[frames].tolist(), strict=True)
        if len(frames):
            yield KeyedPoint(name, tuple(Key(t, x, y) for t, (x, y) in rows))
