"""Tracks as tables of spreadsheets: a row for each point and frame, or a row for each frame."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dinotrack.errors import InputError, shown
from dinotrack.formats.format import Clip, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.tables import Table
from dinotrack.formats.texts import content_of, distinct, quoted, start_of, write_text
from dinotrack.tracks import Tracks

KIND = "a tracks.csv of ours"
"""What messages call these files."""
NEEDED = ("point", "t", "x", "y", "visible")
MORE = ("confidence", "time")
"""The columns of tracks.csv, those that tell it from other tables first."""
ROUNDED = 1e-6
"""Seconds by which times of tracks.csv may differ from the truth, as they have six decimals."""


def is_csv(path: Path) -> bool:
    """Whether a table is a tracks.csv, and not one of queries or of another program."""
    return _columns(start_of(path)).issuperset(NEEDED)


def is_whole_csv(path: Path) -> bool:
    """Whether a table has all columns of a tracks.csv, as no other table of ours does."""
    return _columns(start_of(path)).issuperset((*NEEDED, *MORE))


def read_csv(path: Path, clip: Clip) -> Found:
    """The format `csv`: what `save_csv` wrote, whatever a spreadsheet made of its commas.

    Raises InputError, which names the line, where a column is missing or holds what can't be.
    """
    content = content_of(path, KIND)
    more = tuple(name for name in MORE if name in _columns(start_of(path)))
    keys: dict[int, list[Key]] = {}
    names: dict[int, str] = {}
    times: dict[int, float] = {}
    for line, numbers, name in Table(str(path), content, (*NEEDED, *more)).rows():
        row = dict(zip((*NEEDED, *more), numbers, strict=True))
        point, frame = (_whole(row[key], f"{path}, line {line}: {key}") for key in ("point", "t"))
        t = frame - clip.start_frame
        seen = row["visible"] != 0
        keys.setdefault(point, []).append(
            Key(t, row["x"], row["y"], seen, row.get("confidence", float(seen)))
        )
        names.setdefault(point, name or f"point_{point}")
        if "time" in row:
            times[t] = row["time"]
    if not keys:
        raise InputError(f"{path}: shows no point in any frame; give a file with one")
    points = [KeyedPoint(names[point], tuple(keys[point])) for point in sorted(keys)]
    fps, uneven = _rate(times)
    return Found(points, fps=fps, uneven_times=uneven)


def _columns(start: str) -> set[str]:
    """The names in the first line of a table, after the line `sep=;` of Excel where it has one."""
    first = re.sub(r'\A"?sep=.*\s+', "", start, flags=re.IGNORECASE).partition("\n")[0]
    return {name.strip(' "\r').lower() for name in re.split("[,;\t|]", first)}


def _whole(value: float, where: str) -> int:
    if not value.is_integer():
        raise InputError(f"{where} = {shown(value)} is no whole number; give one")
    return int(value)


def _rate(times: Mapping[int, float]) -> tuple[float | None, tuple[float, ...] | None]:
    """Frames a second that agree with when frames are shown, or else the times themselves.

    Of all rates within the rounding, whole ones and those of 1001 milliseconds are likelier.
    """
    frames = np.array(sorted(times))
    if len(frames) < 2:
        return None, None
    shown_at = np.array([times[t] for t in frames.tolist()])
    span = shown_at[-1] - shown_at[0]
    if not span > 0:
        return None, None
    mean = float((frames[-1] - frames[0]) / span)
    for rate in (float(round(mean)), round(mean * 1.001) / 1.001, mean):
        if rate > 0 and np.abs(frames / rate - shown_at).max() <= ROUNDED:
            return rate, None
    is_whole = np.array_equal(frames, np.arange(len(frames)))
    return mean, tuple(shown_at.tolist()) if is_whole else None


def write_csv_wide(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `csv-wide`: a row for each frame, with frame, time in seconds, and of each point
    NAME_x, NAME_y, NAME_visible and NAME_confidence.

    Where positions of hidden points are not wished, their cells are empty.
    """
    write_text(path, _wide_lines(tracks, wishes))


def _wide_lines(tracks: Tracks, wishes: Wishes) -> Iterator[str]:
    columns = (
        quoted(f"{name}_{what}")
        for name in distinct(tracks.point_names)
        for what in ("x", "y", "visible", "confidence")
    )
    yield ",".join(("frame", "time", *columns)) + "\n"
    for t, time in enumerate(tracks.times.tolist()):
        cells = []
        places = zip(tracks.xy[:, t].tolist(), tracks.confidence[:, t].tolist(), strict=True)
        for seen, ((x, y), trust) in zip(tracks.visible[:, t].tolist(), places, strict=True):
            shows = seen or not wishes.only_visible
            cells.append(f"{x:.3f},{y:.3f},{seen:d},{trust:.4f}" if shows else ",,0,")
        yield f"{t + wishes.start_frame},{time:.6f}," + ",".join(cells) + "\n"
