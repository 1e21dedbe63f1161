"""The result of tracking, as users get it."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dinotrack.errors import InputError, shown


@dataclass(frozen=True, eq=False)
class Tracks:
    """Trajectories of N points over T frames, in pixels of the original video.

    (0, 0) is the centre of the top-left pixel. Rows are in the order in which the points were
    asked for. Two are equal where all their numbers are.
    """

    xy: Float[np.ndarray, "N T 2"]
    """float32 (x, y), finite everywhere, where a point is hidden too."""
    visible: Bool[np.ndarray, "N T"]
    confidence: Float[np.ndarray, "N T"]
    """float32 in [0, 1]: the probability that a point is visible and within 8 px of the truth, in
    a video scaled to 256 x 256."""
    queries: Float[np.ndarray, "N 3"]
    """float32 (t, x, y)."""
    size: tuple[int, int]
    """(H, W) of the video."""
    fps: float
    """Frames a second; the mean where the rate varies."""
    uneven_times: Float[np.ndarray, " T"] | None = None
    """float64: when each frame is shown, where the rate varies. None: frame t is shown at t / fps.
    """
    names: tuple[str, ...] | None = None
    """What each point is called; None where nobody named them."""

    @property
    def point_names(self) -> tuple[str, ...]:
        """What each point is called in files: its name, or else its number, as in point_0."""
        return names_or_numbers(self.names, len(self.queries))

    def chosen(self, points: Sequence[int]) -> Tracks:
        """The tracks of some points alone, by their numbers, which count from 0."""
        rows = list(points)
        return dataclasses.replace(
            self,
            xy=self.xy[rows],
            visible=self.visible[rows],
            confidence=self.confidence[rows],
            queries=self.queries[rows],
            names=None if self.names is None else tuple(self.names[row] for row in rows),
        )

    def hidden_in(self, stretches: Int[np.ndarray, "K 3"]) -> Tracks:
        """Tracks in which points are hidden in stretches, rows of (point, first and last frame)."""
        hidden = hidden_frames(stretches, *self.visible.shape)
        confidence = np.where(hidden, np.float32(0), self.confidence)
        return dataclasses.replace(self, visible=self.visible & ~hidden, confidence=confidence)

    def resized(self, size: tuple[int, int]) -> Tracks:
        """The same tracks in a video of another size (H, W), whose edges are the same edges."""
        ratio = np.array((size[1] / self.size[1], size[0] / self.size[0]))
        queries = self.queries.copy()
        queries[:, 1:] = _scaled(queries[:, 1:], ratio)
        return dataclasses.replace(self, xy=_scaled(self.xy, ratio), queries=queries, size=size)

    def resampled(self, frames: int) -> Tracks:
        """Tracks in so many frames, spread evenly from the first frame to the last one.

        Positions and confidence between two frames lie on the line between them; a point is
        visible where it is in the nearer one.
        """
        last = self.visible.shape[1] - 1
        places = np.linspace(0, last, frames)
        before = np.minimum(np.floor(places).astype(int), max(last - 1, 0))
        after = np.minimum(before + 1, last)
        share = (places - before).astype(np.float32)
        nearest = np.rint(places).astype(int)
        queries = self.queries.copy()
        queries[:, 0] = np.rint(queries[:, 0] * (frames - 1) / max(last, 1))
        confidence = self.confidence[:, before] * (1 - share) + self.confidence[:, after] * share
        mix = share[:, None]
        return dataclasses.replace(
            self,
            xy=self.xy[:, before] * (1 - mix) + self.xy[:, after] * mix,
            visible=self.visible[:, nearest],
            confidence=confidence,
            queries=queries,
            fps=self.fps * max(frames - 1, 1) / max(last, 1),
            uneven_times=None,
        )

    def save(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        start_frame: int | None = None,
        only_visible: bool = False,
        video: str = "",
    ) -> None:
        """Write the tracks into a file of any format that docs/formats.md lists.

        format: the name of one; by default the end of the file's name tells it.
        start_frame: the number that frame 0 has in the file; by default what is usual there.
        only_visible: leave out where a point is hidden also where the format could hold it.
        video: where the video lies, for programs that load it.

        Raises InputError where no format has that name or that end, and where the file can't be
        written.
        """
        formats = importlib.import_module("dinotrack.formats")  # which need tracks themselves
        wishes = {"start_frame": start_frame, "only_visible": only_visible, "video": video}
        formats.save(self, path, format, **wishes)

    @property
    def times(self) -> Float[np.ndarray, " T"]:
        """float64: when each frame is shown, in seconds."""
        if self.uneven_times is not None:
            return self.uneven_times
        return np.arange(self.visible.shape[1]) / self.fps

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are equal; what is no number equals what is no number."""
        if not isinstance(other, Tracks):
            return NotImplemented
        names = [field.name for field in dataclasses.fields(self)]
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)


def names_or_numbers(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """What so many points are called: their names, or else their numbers, as in point_0."""
    if names is not None:
        return tuple(names)
    return tuple(f"point_{number}" for number in range(count))


def point_numbers(wanted: str | Iterable[int | str], names: Sequence[str]) -> list[int]:
    """The numbers, counted from 0, of points that are asked for by numbers and names.

    wanted: a text with commas between, in which names with commas stand in quotes, as in CSV files;
    or one after the other. names: what all points are called. A name means all points that are
    called so, and where one is called like the number of another, the name goes first. Raises
    InputError.
    """
    if not isinstance(wanted, Iterable):
        raise InputError(f"points are a list of numbers and names, not {shown(wanted)}; give one")
    words: Iterable[int | str] = wanted
    if isinstance(wanted, str):
        words = next(csv.reader([wanted], skipinitialspace=True), [])
    called: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        called.setdefault(name.strip(), []).append(number)
    chosen: list[int] = []
    for word in (str(part).strip() for part in words):
        if word in called:
            chosen += called[word]
        elif word.isdecimal() and int(word[:9]) < len(names):
            chosen.append(int(word[:9]))
        else:
            last = len(names) - 1
            raise InputError(f"no point is called {word!r}; give names, or numbers up to {last}")
    if not chosen:
        raise InputError("no point is named; give names or numbers, with commas between")
    return list(dict.fromkeys(chosen))


def _scaled(xy: Float[np.ndarray, "*N 2"], ratio: Float[np.ndarray, 2]) -> np.ndarray:
    """Positions of a picture in one whose sides are longer by a ratio (x, y)."""
    return np.asarray((xy + 0.5) * ratio - 0.5, xy.dtype)


def _same(ours: object, theirs: object) -> bool:
    """Whether two arrays, numbers or Nones are equal."""
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        numbers = ours.dtype.kind == "f" and theirs.dtype.kind == "f"
        return np.array_equal(ours, theirs, equal_nan=numbers)
    if isinstance(ours, np.ndarray) or isinstance(theirs, np.ndarray):
        return False
    return ours == theirs


def hidden_frames(
    stretches: Int[np.ndarray, "K 3"], points: int, frames: int
) -> Bool[np.ndarray, "N T"]:
    """Where points are hidden, by stretches, rows of (point, first and last frame)."""
    hidden = np.zeros((points, frames), bool)
    for point, first, last in stretches:
        hidden[point, first : last + 1] = True
    return hidden
