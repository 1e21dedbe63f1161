"""DeepLabCut's tables: predictions of a network, and what people labelled by hand.

Columns have a scorer, in tables of several animals an individual, a body part, and x, y or
likelihood. Rows are frames, by number or by the name of an image. Positions are ours.
"""

from __future__ import annotations

import csv
import io
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dinotrack.files import replacing
from dinotrack.formats.format import Clip, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.hdf5 import open_h5
from dinotrack.formats.opening import Unreadable, opened
from dinotrack.formats.pandas_files import KEY, Column, copy_plain, holds_frame, read_frame
from dinotrack.formats.tables import decoded
from dinotrack.formats.texts import content_of, distinct, quoted, start_of, write_text
from dinotrack.tracks import Tracks

KIND = "a table of DeepLabCut"
"""What messages call these files."""
SCORER = "dinotrack"
"""Who found the points, in files that we write."""
COORDS = ("x", "y", "likelihood")
LEVELS = ("scorer", "individuals", "bodyparts", "coords")
"""The rows above the numbers; the second only where there are several animals."""
LEAST = 1e-4
"""The likelihood of a visible point, at least, in files that we write; hidden ones have 0."""
SURE = 0.6
"""From which likelihood on a point of another scorer counts as visible: DeepLabCut's `pcutoff`."""


def write_deeplabcut(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `deeplabcut`: likelihood is confidence, and 0 where a point is hidden; its cells
    are empty there where hidden points are not wished."""
    write_text(path, _lines(tracks, wishes))


def _lines(tracks: Tracks, wishes: Wishes) -> Iterator[str]:
    names = [quoted(name) for name in distinct(tracks.point_names)]
    yield ",".join(("scorer", *[SCORER] * (len(COORDS) * len(names)))) + "\n"
    yield ",".join(("bodyparts", *(name for name in names for _ in COORDS))) + "\n"
    yield ",".join(("coords", *COORDS * len(names))) + "\n"
    for t, row in enumerate(_values(tracks, wishes), wishes.start_frame):
        cells = ("" if math.isnan(value) else f"{value:.4f}" for value in row.tolist())
        yield f"{t}," + ",".join(cells) + "\n"


def _values(tracks: Tracks, wishes: Wishes) -> Float[np.ndarray, "T columns"]:
    """The numbers of the table."""
    likelihood = np.where(tracks.visible, np.maximum(tracks.confidence, LEAST), 0)
    values = np.concatenate((tracks.xy, likelihood[..., None]), axis=-1).astype(np.float64)
    if wishes.only_visible:
        values[~tracks.visible] = np.nan
    return values.transpose(1, 0, 2).reshape(values.shape[1], -1)


def write_deeplabcut_h5(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `deeplabcut-h5`: the same table as DeepLabCut keeps it, through pandas."""
    import pandas as pd

    names = distinct(tracks.point_names)
    columns = pd.MultiIndex.from_tuples(
        [(SCORER, name, what) for name in names for what in COORDS],
        names=("scorer", "bodyparts", "coords"),
    )
    values = _values(tracks, wishes)
    frames = np.arange(wishes.start_frame, wishes.start_frame + len(values))
    table = pd.DataFrame(values, index=frames, columns=columns)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "table.h5")
        with pd.HDFStore(str(made), "w") as store:
            store.put(KEY, table, format="fixed", track_times=False)  # "table" takes few points
        with replacing(path) as part:
            copy_plain(made, part)


def is_deeplabcut(path: Path) -> bool:
    """Whether a .csv file begins as tables of DeepLabCut do."""
    return start_of(path).startswith("scorer,")


def read_deeplabcut(path: Path, clip: Clip) -> Found:
    """Points of a .csv file: predictions, or CollectedData of people."""
    content = decoded(content_of(path, KIND))
    with opened(path, KIND):
        rows = [row for row in csv.reader(io.StringIO(content, newline="")) if row]
        count = 1 + next((i for i, row in enumerate(rows) if row[0] == "coords"), len(rows))
        heads = {row[0]: row for row in rows[:count]}
        if not heads.keys() <= set(LEVELS) or len(heads) != count:
            raise Unreadable("its first rows are not scorer, bodyparts and coords")
        labels = next(i for i, cell in enumerate(heads["coords"]) if cell in COORDS)
        levels = [heads[name] for name in LEVELS if name in heads]
        columns = [column[:] for column in zip(*levels, strict=True)][labels:]
        values = [[float(cell or "nan") for cell in row[labels:]] for row in rows[count:]]
        numbers = [row[labels - 1] for row in rows[count:]]
        return _found(columns, numbers, np.array(values, np.float64), clip)


def is_deeplabcut_h5(path: Path) -> bool:
    """Whether an .h5 file holds a table, and not what SLEAP writes."""
    return holds_frame(path)


def read_deeplabcut_h5(path: Path, clip: Clip) -> Found:
    """Points of an .h5 file: predictions, or CollectedData of people."""
    with open_h5(path, KIND) as file:
        columns, labels, values = read_frame(file)
        return _found(columns, labels, values, clip)


def _found(
    columns: Sequence[Column],
    labels: Sequence[str],
    values: Float[np.ndarray, "T columns"],
    clip: Clip,
) -> Found:
    """The points of a table, which are named after body parts, and after individuals where there
    are several."""
    frames = [_frame(label) - clip.start_frame for label in labels]
    places: dict[Column, dict[str, int]] = {}
    for i, column in enumerate(columns):
        if len(column) not in (len(LEVELS) - 1, len(LEVELS)):
            raise Unreadable("its columns are not scorer, bodyparts and coords")
        places.setdefault(column[:-1], {})[column[-1]] = i
    are_several = len({point[1:-1] for point in places}) > 1
    points = []
    for point, where in places.items():
        name = "_".join(point[1:]) if are_several else point[-1]
        least = LEAST / 2 if point[0] == SCORER else SURE
        points.append(KeyedPoint(name, _keys(values, where, frames, least)))
    return Found(points, frames=max(frames, default=0) + 1)


def _keys(
    values: Float[np.ndarray, "T columns"],
    where: Mapping[str, int],
    frames: Sequence[int],
    least: float,
) -> tuple[Key, ...]:
    """Where a point is; what people labelled has no likelihood, and is sure.

    where: the column of x, y and likelihood. least: the likelihood of what is visible.
    """
    xs, ys = (values[:, where[name]].tolist() for name in ("x", "y"))
    trusts = [1.0] * len(frames)
    if "likelihood" in where:
        trusts = np.nan_to_num(values[:, where["likelihood"]], nan=1.0).tolist()
    rows = zip(frames, xs, ys, trusts, strict=True)
    return tuple(
        Key(t, x, y, trust >= least, min(max(trust, 0.0), 1.0))
        for t, x, y, trust in rows
        if not (math.isnan(x) or math.isnan(y))
    )


def _frame(label: str) -> int:
    """The frame of a row: a number, or the last one in the name of an image."""
    stem = label.replace("\\", "/").rpartition("/")[2].partition(".")[0]
    digits = "".join(letter if letter.isdecimal() else " " for letter in stem).split()
    if not digits:
        raise Unreadable("it has a row without the number of a frame")
    return int(digits[-1])
