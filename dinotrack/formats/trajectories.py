"""Trajectories that steer video generators: of each point its path, as ATI and Wan nodes take it.

The size and the number of frames that a generator wants are made before, by `Tracks.resized` and
`Tracks.resampled`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dinotrack.formats.format import Wishes
from dinotrack.formats.texts import write_text
from dinotrack.tracks import Tracks


def write_trajectories(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `trajectories`: a list of paths, each a list of {"x", "y"} in px, one a frame.

    Where a point is hidden, its last visible position stays, and before the first one that one.
    Points that are never visible are left out.
    """
    write_text(path, _parts(tracks))


def _parts(tracks: Tracks) -> Iterator[str]:
    separator = "["
    for p in np.flatnonzero(tracks.visible.any(axis=1)).tolist():
        seen = tracks.visible[p]
        places = tracks.xy[p][_held(seen)].tolist()
        steps = [{"x": round(x, 3), "y": round(y, 3)} for x, y in places]
        yield separator + json.dumps(steps)
        separator = ",\n"
    yield "]\n" if separator != "[" else "[]\n"


def _held(seen: np.ndarray) -> np.ndarray:
    """The frame whose position holds in each frame."""
    frames = np.where(seen, np.arange(len(seen)), -1)
    last = np.maximum.accumulate(frames)
    return np.where(last < 0, int(seen.argmax()), last)
