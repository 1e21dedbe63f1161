"""The text of MOT Challenge: a box around each point in each frame, counted from 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dinotrack.formats.format import Wishes
from dinotrack.formats.texts import write_text
from dinotrack.tracks import Tracks

SIDE = 10.0
"""Px of a box, whose middle is the point."""
ONE = 1.0
"""MOT calls the top-left pixel (1, 1)."""


def write_mot(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `mot`: frame, number of the point from 1, left, top, width, height, confidence,
    and three -1 for the place in the world; by frame. Hidden points are left out."""
    write_text(path, _lines(tracks, wishes))


def _lines(tracks: Tracks, wishes: Wishes) -> Iterator[str]:
    corners = tracks.xy.astype(np.float64) + ONE - SIDE / 2
    for t in range(tracks.visible.shape[1]):
        for p in np.flatnonzero(tracks.visible[:, t]).tolist():
            left, top = corners[p, t].tolist()
            box = f"{left:.4f},{top:.4f},{SIDE:g},{SIDE:g}"
            trust = float(tracks.confidence[p, t])
            yield f"{t + wishes.start_frame},{p + 1},{box},{trust:.4f},-1,-1,-1\n"
