"""The truth about some points of a run, where somebody has it: a TAP-Vid-like .npz file.

It holds query [N, 3] (t, x, y), tracks [N, T, 2] and visible [N, T], in px of the size (H, W) that
it names, as the clips of `python -m dinotrack.benchmarks` do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float

from dinotrack.errors import InputError
from dinotrack.formats.numpy_files import open_npz
from dinotrack.metrics import scale_to_256
from dinotrack.tracks import Tracks

KIND = "a file of true tracks"
SAME = 1.0
"""Px: a query of the truth and one of the run that lie so near to each other are one point."""
SHAPES = {"query": ("N", 3), "tracks": ("N", "T", 2), "visible": ("N", "T"), "size": (2,)}
"""The arrays that are needed, and their sides."""


@dataclass(frozen=True)
class Truth:
    """Where the points of a run really are, as far as that is known."""

    xy: Float[np.ndarray, "N T 2"]
    """Px of the video; meaningless where `visible` is false."""
    visible: Bool[np.ndarray, "N T"]
    """Where a point is known, and not hidden."""

    def place(self, n: int, t: int) -> Float[np.ndarray, 2] | None:
        """Where a point is in a frame; None where that is not known, or the point is hidden."""
        return self.xy[n, t].astype(float) if self.visible[n, t] else None

    def error(self, tracks: Tracks) -> Float[np.ndarray, "N T"]:
        """How far off tracks are, px at 256 x 256; 0 where the truth is hidden or not known."""
        off = scale_to_256(np.subtract(tracks.xy, self.xy, dtype=float), tracks.size)
        return np.where(self.visible, np.linalg.norm(off, axis=-1), 0.0)


def read_truth(path: Path, tracks: Tracks) -> Truth:
    """What a file knows of the points of a run; later frames than it knows count as not known.

    Raises InputError where it is no such file, and where it knows none of the points.
    """
    arrays = _arrays(path)
    height, width = arrays["size"].tolist()
    if min(height, width) < 1:
        raise InputError(f"{path}: is not {KIND}: its frames are {width} x {height}")
    ratio = np.array((tracks.size[1] / width, tracks.size[0] / height))
    queries = np.asarray(arrays["query"], float)
    queries[:, 1:] = (queries[:, 1:] + 0.5) * ratio - 0.5
    known = (np.asarray(arrays["tracks"], float) + 0.5) * ratio - 0.5
    shape = tracks.visible.shape
    xy, visible = np.zeros((*shape, 2), np.float32), np.zeros(shape, bool)
    length = min(shape[1], known.shape[1])
    pairs = _same_points(queries, np.asarray(tracks.queries, float))
    if not pairs:
        raise InputError(
            f"{path}: none of its points was tracked in this run; "
            "track them with --queries and this file, and then ask for the report"
        )
    for row, n in pairs:
        seen = np.isfinite(known[row, :length]).all(axis=-1)
        xy[n, :length] = np.nan_to_num(known[row, :length])
        visible[n, :length] = seen & (arrays["visible"][row, :length] != 0)
    return Truth(xy, visible)


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    with open_npz(path, KIND) as archive:
        missing = [name for name in SHAPES if name not in archive.members]
        arrays = {name: archive.read(name) for name in SHAPES if not missing}
    if missing:
        raise InputError(f"{path}: is not {KIND}: it has no `{missing[0]}`")
    sides: dict[str, int] = {}
    for name, wanted in SHAPES.items():
        shape = arrays[name].shape
        right = len(shape) == len(wanted)
        for side, meant in zip(shape, wanted, strict=False):
            right &= side == (sides.setdefault(meant, side) if isinstance(meant, str) else meant)
        if not right:
            raise InputError(f"{path}: is not {KIND}: its `{name}` has the shape {list(shape)}")
    return arrays


def _same_points(
    asked: Float[np.ndarray, "M 3"], tracked: Float[np.ndarray, "N 3"]
) -> list[tuple[int, int]]:
    """Pairs of rows whose queries are one point: the nearest one of the same frame."""
    pairs = []
    for n, (t, x, y) in enumerate(tracked.tolist()):
        same = np.flatnonzero(np.rint(asked[:, 0]) == round(t))
        if not len(same):
            continue
        far = np.hypot(asked[same, 1] - x, asked[same, 2] - y)
        if far.min() <= SAME:
            pairs.append((int(same[far.argmin()]), n))
    return pairs
