"""The xypts table of DLTdv: a row for each frame, in which the top-left pixel is (1, 1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dinotrack.formats.format import Wishes
from dinotrack.formats.texts import write_text
from dinotrack.tracks import Tracks

ONE = 1.0
"""DLTdv counts pixels from here, as MATLAB does."""


def write_dltdv(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `dltdv`: columns pt1_cam1_X, pt1_cam1_Y and so on by the order of the points, and
    NaN where one is hidden. The first row is the first frame of the video."""
    write_text(path, _lines(tracks))


def _lines(tracks: Tracks) -> Iterator[str]:
    numbers = range(1, len(tracks.xy) + 1)
    yield ",".join(f"pt{n}_cam1_{axis}" for n in numbers for axis in "XY") + "\n"
    places = np.where(tracks.visible[..., None], tracks.xy.astype(np.float64) + ONE, np.nan)
    for row in places.transpose(1, 0, 2).reshape(places.shape[1], -1).tolist():
        yield ",".join("NaN" if value != value else f"{value:.4f}" for value in row) + "\n"
