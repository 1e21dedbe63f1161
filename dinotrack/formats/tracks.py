"""Tracks as files: what a run leaves for other programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dinotrack.errors import InputError
from dinotrack.files import replacing
from dinotrack.formats.numpy_files import Archive, open_npz
from dinotrack.tracks import Tracks

KIND = "a tracks.npz of ours"
"""What messages call these files."""
POINTS, FRAMES = "N", "T"
FIELDS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "tracks": ("f", (POINTS, FRAMES, 2)),
    "visible": ("b", (POINTS, FRAMES)),
    "confidence": ("f", (POINTS, FRAMES)),
    "queries": ("f", (POINTS, 3)),
    "size": ("iu", (2,)),
    "fps": ("f", ()),
    "times": ("f", (FRAMES,)),
}
"""The arrays of tracks.npz: the kinds of numbers, as numpy's letters, and the shape."""
LATER = ("times",)
"""What older versions did not write."""


def save_tracks(path: str | Path, tracks: Tracks) -> None:
    """Write tracks.npz: `tracks` float32 [N, T, 2] px, and the other fields of Tracks by name.

    `times` float64 [T] tells when each frame is shown, in seconds. The same tracks give the same
    bytes. Raises InputError where the file can't be written.
    """
    with replacing(path) as part, part.open("wb") as file:
        np.savez(
            file,
            tracks=tracks.xy.astype(np.float32),
            visible=tracks.visible.astype(np.bool_),
            confidence=tracks.confidence.astype(np.float32),
            queries=tracks.queries.astype(np.float32),
            size=np.array(tracks.size, np.int64),
            fps=np.array(tracks.fps, np.float64),
            times=tracks.times.astype(np.float64),
        )


def load_tracks(path: str | Path) -> Tracks:
    """The inverse of `save_tracks`.

    Raises InputError for a file that is none: other names, kinds or shapes of arrays, or numbers
    that can't be.
    """
    path = Path(path)
    with open_npz(path, KIND) as archive:
        arrays = _arrays(path, archive)
    height, width = arrays["size"].tolist()
    fps = float(arrays["fps"])
    if height < 1 or width < 1 or fps <= 0:
        raise _refused(path, f"{width} x {height} and {fps:g} frames a second can't be")
    times = arrays.get("times")
    is_even = times is None or np.array_equal(times, np.arange(len(times)) / fps)
    return Tracks(
        xy=arrays["tracks"].astype(np.float32),
        visible=arrays["visible"],
        confidence=arrays["confidence"].astype(np.float32),
        queries=arrays["queries"].astype(np.float32),
        size=(height, width),
        fps=fps,
        uneven_times=None if is_even else times,
    )


def _arrays(path: Path, archive: Archive) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a file, finite, whose shapes belong together. Raises InputError."""
    sides: dict[str, int] = {}

    def look(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        kinds, wanted = FIELDS[name]
        right = len(shape) == len(wanted) and dtype.kind in kinds
        for side, meant in zip(shape, wanted, strict=False):
            right &= side == (sides.setdefault(meant, side) if isinstance(meant, str) else meant)
        if not right:
            raise _refused(path, f"its `{name}` is {dtype} {list(shape)}")

    arrays = {}
    for name in FIELDS:
        if name in archive.members:
            arrays[name] = archive.read(name, look)
            if not np.isfinite(arrays[name]).all():
                raise _refused(path, f"its `{name}` holds what is no number")
        elif name not in LATER:
            raise _refused(path, f"it has no `{name}`")
    return arrays


def _refused(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: is no {KIND.removeprefix('a ')}: {reason}")


def save_csv(path: str | Path, tracks: Tracks) -> None:
    """Write tracks.csv: point,t,x,y,visible,confidence,time.

    One row a point and frame, points in the order of the queries, and of each point its frames;
    time is in seconds. Raises InputError where the file can't be written.
    """
    times = tracks.times.tolist()
    with replacing(path) as part, part.open("w", encoding="ascii", newline="\n") as file:
        file.write("point,t,x,y,visible,confidence,time\n")
        for p in range(len(tracks.xy)):  # one after the other, as there may be many
            columns = (
                tracks.xy[p, :, 0].tolist(),
                tracks.xy[p, :, 1].tolist(),
                tracks.visible[p].tolist(),
                tracks.confidence[p].tolist(),
                times,
            )
            rows = enumerate(zip(*columns, strict=True))
            file.writelines(
                f"{p},{t},{x:.3f},{y:.3f},{v:d},{c:.4f},{s:.6f}\n" for t, (x, y, v, c, s) in rows
            )


FORMATS: dict[str, Callable[[Path, Tracks], None]] = {
    "tracks.npz": save_tracks,
    "tracks.csv": save_csv,
}
"""What a run writes: the name of a file -> the function that writes it."""
