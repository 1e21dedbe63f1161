"""What was read of a file, as queries or as tracks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dinotrack.errors import InputError, shown
from dinotrack.formats.format import Clip, Found, Key, KeyedPoint
from dinotrack.points import QueryRows
from dinotrack.tracks import Tracks

FPS = 24.0
"""Frames a second of videos of which nobody says it."""
FARTHEST = 1e30
"""Px that a position may be away from the picture; what is not less is damaged, or no number."""
MOST_PLACES = 1 << 24
"""Points times frames that a file may hold; each takes about 50 bytes on the way."""


def first_keys(found: Found | Tracks, path: Path) -> QueryRows:
    """A query for each point of a file: where it is in the first frame that shows it; of tracks,
    what was asked for.

    Raises InputError where no point is shown anywhere.
    """
    if isinstance(found, Tracks):
        return QueryRows(found.queries.astype(np.float64), str(path), names=found.names)
    rows = []
    names = []
    for point in found.points:
        seen = [key for key in point.keys if key.visible]
        if point.query or seen:
            rows.append(point.query or _place(min(seen, key=lambda key: key.t)))
            names.append(point.name)
    if not rows:
        raise InputError(f"{path}: shows no point in any frame; give a file with one")
    return QueryRows(np.array(rows, np.float64), str(path), names=_given(names))


def _place(key: Key) -> tuple[float, float, float]:
    """(t, x, y) of a key."""
    return key.t, key.x, key.y


def _given(names: Sequence[str]) -> tuple[str, ...] | None:
    """Names of points; None where these are what files call points that nobody named."""
    numbers = range(len(names))
    return None if all(names[i] == f"point_{i}" for i in numbers) else tuple(names)


def as_tracks(found: Found, clip: Clip, path: Path) -> Tracks:
    """The points of a file as tracks.

    A point's query is what the file says, or its first visible key. In frames without a key a point
    is hidden, with a confidence of 0; it lies on the line between the keys before and after, or on
    the nearest one. Points without keys are left out.
    Raises InputError where nobody says how large the video is, for a file without points, and for
    a point with a key in a frame that the video does not have, or with two in one.
    """
    size = clip.size or found.size or clip.needed_size(path)
    points = [point for point in found.points if point.keys]
    if not points:
        raise InputError(f"{path}: shows no point in any frame; give a file with one")
    last = max(key.t for point in points for key in point.keys)
    frames = clip.frames or found.frames or last + 1
    if len(points) * frames > MOST_PLACES:
        raise InputError(
            f"{path}: holds {len(points)} points in {shown(frames)} frames, more than memory is "
            "for; give fewer points, or say with start_frame which number the first frame has"
        )
    fps = clip.fps or found.fps or FPS
    if min(size) < 1 or not 0 < fps < math.inf:
        raise InputError(f"{path}: {size[1]} x {size[0]} and {fps:g} frames a second can't be")
    times = found.uneven_times
    parts = [_track(point, frames, path) for point in points]
    xy, visible, confidence, queries = (np.stack(part) for part in zip(*parts, strict=True))
    return Tracks(
        xy=xy.astype(np.float32),
        visible=visible,
        confidence=confidence.astype(np.float32),
        queries=queries.astype(np.float32),
        size=size,
        fps=float(fps),
        uneven_times=np.array(times) if times and len(times) == frames else None,
        names=_given([point.name for point in points]),
    )


def _track(
    point: KeyedPoint, frames: int, path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions [T, 2], visibility [T], confidence [T] and query [3] of a point."""
    keys = sorted(point.keys, key=lambda key: key.t)
    if keys[0].t < 0 or keys[-1].t >= frames:
        wrong = keys[0].t if keys[0].t < 0 else keys[-1].t
        raise InputError(
            f"{path}: point {shown(point.name)} has a key in frame {shown(wrong)} of {frames}, "
            "counted from 0; say with start_frame which number the first frame has"
        )
    times = np.array([key.t for key in keys])
    places = np.array([(key.x, key.y) for key in keys])
    if len(set(times.tolist())) < len(times):
        raise InputError(
            f"{path}: point {shown(point.name)} is twice in a frame; keep one of these"
        )
    if not (np.abs(places) < FARTHEST).all():
        raise InputError(
            f"{path}: point {shown(point.name)} has a position that is no number of px"
        )
    first = next((key for key in keys if key.visible), keys[0])
    query = np.array(point.query or _place(first))
    if not (np.abs(query) < FARTHEST).all():
        raise InputError(f"{path}: the query of point {shown(point.name)} is not t, x and y")
    if not all(0 <= key.confidence <= 1 for key in keys):
        raise InputError(f"{path}: a confidence of point {shown(point.name)} is not from 0 to 1")
    every = np.arange(frames)
    xy = np.stack([np.interp(every, times, places[:, axis]) for axis in (0, 1)], axis=-1)
    visible = np.zeros(frames, bool)
    confidence = np.zeros(frames)
    visible[times] = [key.visible for key in keys]
    confidence[times] = [key.confidence for key in keys]
    return xy, visible, confidence, query
