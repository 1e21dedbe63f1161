"""Tracks as files: what a run leaves for other programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dinotrack.errors import InputError
from dinotrack.files import replacing
from dinotrack.formats.format import Clip, Wishes
from dinotrack.formats.numpy_files import Archive, open_npz
from dinotrack.formats.texts import quoted
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
    "names": ("U", (POINTS,)),
}
"""The arrays of tracks.npz: the kinds of numbers, as numpy's letters, and the shape."""
LATER = ("times", "names")
"""What older versions did not write; `names` is there only where points have names."""


def save_tracks(path: str | Path, tracks: Tracks) -> None:
    """Write tracks.npz: `tracks` float32 [N, T, 2] px, and the other fields of Tracks by name.

    `times` float64 [T] tells when each frame is shown, in seconds. `names` [N] is text, and is
    there only where points have names. The same tracks give the same bytes. Raises InputError where
    the file can't be written.
    """
    named: dict[str, Any] = {}
    if tracks.names is not None:
        named["names"] = np.array(tracks.names, np.str_)
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
            **named,
        )


def write_npz(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `npz`: everything, whatever is wished."""
    save_tracks(path, tracks)


def is_npz(path: Path) -> bool:
    """Whether an .npz file is one of ours, and not of queries or of another program."""
    try:
        with open_npz(path, KIND) as archive:
            return {"tracks", "confidence", "queries"} <= archive.members.keys()
    except InputError:
        return False


def read_npz(path: Path, clip: Clip) -> Tracks:
    """The inverse of `save_tracks`; nothing else needs to be known.

    Raises InputError for a file that is none: other names, kinds or shapes of arrays, or numbers
    that can't be.
    """
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
        names=tuple(arrays["names"].tolist()) if "names" in arrays else None,
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
            if name == "names":
                arrays[name].tolist()  # raises where these are no letters
            elif not np.isfinite(arrays[name]).all():
                raise _refused(path, f"its `{name}` holds what is no number")
        elif name not in LATER:
            raise _refused(path, f"it has no `{name}`")
    return arrays


def _refused(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: is no {KIND.removeprefix('a ')}: {reason}")


def write_csv(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `csv`: what `save_csv` writes, with frames counted from where it is wished."""
    save_csv(path, tracks, wishes.start_frame, wishes.only_visible)


def save_csv(
    path: str | Path, tracks: Tracks, start_frame: int = 0, only_visible: bool = False
) -> None:
    """Write tracks.csv: point,t,x,y,visible,confidence,time, and name where points have names.

    One row a point and frame, points in the order of the queries, and of each point its frames;
    time is in seconds. start_frame: the number of the first frame. only_visible: rows in which the
    point is hidden are left out. Raises InputError where the file can't be written.
    """
    times = tracks.times.tolist()
    ends = ["\n"] * len(tracks.xy)
    if tracks.names is not None:
        ends = [f",{quoted(name)}\n" for name in tracks.names]
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write("point,t,x,y,visible,confidence,time" + ",name" * bool(tracks.names) + "\n")
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
                f"{p},{t + start_frame},{x:.3f},{y:.3f},{v:d},{c:.4f},{s:.6f}{ends[p]}"
                for t, (x, y, v, c, s) in rows
                if v or not only_visible
            )


RESULTS: dict[str, Callable[[Path, Tracks], None]] = {
    "tracks.npz": save_tracks,
    "tracks.csv": save_csv,
}
"""What a run writes: the name of a file -> the function that writes it."""
