"""All formats of other programs, by name, and which of them a file has."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

from dinotrack.errors import InputError, shown
from dinotrack.formats.format import Clip, Format, Found, KeyedPoint, Wishes
from dinotrack.formats.tracks import is_npz, read_npz, write_csv, write_npz
from dinotrack.points import QueryRows
from dinotrack.tracks import Tracks

FORMATS: dict[str, Format] = {
    "npz": Format(".npz", "NumPy, as a run writes it", write_npz, read_npz, is_npz),
    "csv": Format(".csv", "spreadsheets: a row for each point and frame", write_csv),
}
"""The name of a format -> what it is. One format is one function and one line."""


def format_of(path: Path, name: str | None, reads: bool) -> Format | None:
    """The format with that name, or else the one that a file's name and content tell.

    reads: whether the file is to be read, or else written. None where no format does that. Raises
    InputError for a name of none, and of one that can't do it.
    """
    if name is not None:
        chosen = named(name)
        if (chosen.read if reads else chosen.write) is None:
            raise InputError(f"{name} files can't be {'read' if reads else 'written'} here")
        return chosen
    for each in FORMATS.values():
        able = each.read if reads else each.write
        fits = able is not None and path.name.lower().endswith(each.ending)
        if fits and (not reads or (os.path.isfile(path) and each.recognise(path))):
            return each
    return None


def named(name: str) -> Format:
    """The format with that name. Raises InputError where there is none."""
    if name not in FORMATS:
        raise InputError(f"unknown format {shown(name)}; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def check_writable(name: str) -> None:
    """Raises InputError where files of that format can't be written on this machine."""
    chosen = named(name)
    if chosen.write is None:
        able = ", ".join(known for known, each in FORMATS.items() if each.write)
        raise InputError(f"{name} files can't be written here; choose one of {able}")
    check_installed(name, chosen)


def check_installed(name: str, chosen: Format) -> None:
    """Raises InputError where a format needs a package that is missing."""
    for package in filter(None, (chosen.package,)):
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            raise InputError(
                f"{name} files need the package {package}; install it: pip install {package}"
            )


def save(
    tracks: Tracks,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    start_frame: int | None = None,
    only_visible: bool = False,
    video: str = "",
) -> None:
    """Write tracks into a file, as `Tracks.save` says."""
    path = Path(path)
    found = format_of(path, format, reads=False)
    if found is None:
        known = ", ".join(dict.fromkeys(each.ending for each in FORMATS.values() if each.write))
        raise InputError(f"{path}: tracks are written into {known} files; give one of these")
    assert found.write is not None
    start = found.first_frame if start_frame is None else start_frame
    found.write(path, tracks, Wishes(start, only_visible, video))


def load_tracks(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    fps: float | None = None,
    start_frame: int | None = None,
) -> Tracks:
    """The tracks of a file of any format that docs/formats.md says can be read.

    format: the name of one; by default the file tells it.
    size (H, W) px, frames, fps: of the video, for files that do not say them.
    start_frame: the number that the video's first frame has in the file; by default what is usual.

    In frames that the file does not show a point in, it is hidden, on the line between its places
    before and after. Raises InputError for a file that can't be read, and where something that it
    does not say is not given.
    """
    path = Path(path)
    readable = [each for each in FORMATS.values() if each.read]
    alike = [each for each in readable if path.name.lower().endswith(each.ending)]
    found = format_of(path, format, reads=True) or next(iter(alike), None)
    if found is None:
        known = ", ".join(dict.fromkeys(each.ending for each in readable))
        raise InputError(f"{path}: tracks are read from {known} files; give one of these")
    assert found.read is not None
    start = found.first_frame if start_frame is None else start_frame
    clip = Clip(start, size, frames, fps)
    held = found.read(path, clip)
    return held if isinstance(held, Tracks) else as_tracks(held, clip, path)


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
        if seen:
            key = min(seen, key=lambda key: key.t)
            rows.append((key.t, key.x, key.y))
            names.append(point.name)
    if not rows:
        raise InputError(f"{path}: shows no point in any frame; give a file with one")
    return QueryRows(np.array(rows, np.float64), str(path), names=tuple(names))


def as_tracks(found: Found, clip: Clip, path: Path) -> Tracks:
    """The points of a file as tracks.

    A point's query is its first visible key. In frames without a key a point is hidden, with a
    confidence of 0; it lies on the line between the keys before and after, or on the nearest one.
    Raises InputError where nobody says how large the video is, for a file without points, and for
    a point without keys or with one in a frame that the video does not have.
    """
    size = clip.size or found.size
    if size is None:
        raise InputError(f"{path}: does not say how large its video is; give size=(H, W)")
    if not found.points or not any(point.keys for point in found.points):
        raise InputError(f"{path}: shows no point in any frame; give a file with one")
    last = max(key.t for point in found.points for key in point.keys)
    frames = clip.frames or found.frames or last + 1
    parts = [_track(point, frames, path) for point in found.points]
    xy, visible, confidence, queries = (np.stack(part) for part in zip(*parts, strict=True))
    return Tracks(
        xy=xy.astype(np.float32),
        visible=visible,
        confidence=confidence.astype(np.float32),
        queries=queries.astype(np.float32),
        size=size,
        fps=float(clip.fps or found.fps or FPS),
        names=tuple(point.name for point in found.points),
    )


FPS = 24.0
"""Frames a second of videos of which nobody says it."""


def _track(
    point: KeyedPoint, frames: int, path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions [T, 2], visibility [T], confidence [T] and query [3] of a point."""
    keys = sorted(point.keys, key=lambda key: key.t)
    if not keys:
        raise InputError(f"{path}: point {shown(point.name)} is in no frame; leave it out")
    if keys[0].t < 0 or keys[-1].t >= frames:
        wrong = keys[0].t if keys[0].t < 0 else keys[-1].t
        raise InputError(
            f"{path}: point {shown(point.name)} has a key in frame {wrong} of {frames}, counted "
            "from 0; say with start_frame which number the first frame has"
        )
    times = np.array([key.t for key in keys])
    places = np.array([(key.x, key.y) for key in keys])
    every = np.arange(frames)
    xy = np.stack([np.interp(every, times, places[:, axis]) for axis in (0, 1)], axis=-1)
    visible = np.zeros(frames, bool)
    confidence = np.zeros(frames)
    visible[times] = [key.visible for key in keys]
    confidence[times] = [key.confidence for key in keys]
    first = next((key for key in keys if key.visible), keys[0])
    return xy, visible, confidence, np.array((first.t, first.x, first.y))
