"""The tracks of a document's points as they are now: which there are, and which to make next."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dinotrack.fitted import Fitted
from dinotrack.progress import Progress
from dinotrack.studio.document import Document, Placed, by_id
from dinotrack.tracks import Tracks

FEW, MANY = 16, 64
"""Points that are tracked at a time: those of an edit, which somebody waits for, and the rest. One
point takes a third of a second, 16 take less than a second, and 64 less than three. Numbers are
added up in another order in a group, which moves a track by less than a thousandth of a pixel
(docs/studio.md)."""
ALONE = 4
"""Points that one thread tracks. Several are hardly faster for so few, as they wait for each other
after every small piece of work; and where a browser has a core busy, they wait for seconds."""
DECIMALS = 3
"""Of positions and confidence, as pages get them."""


@dataclass(frozen=True)
class Group:
    """Points that are tracked together."""

    points: tuple[Placed, ...] = ()
    edit: int = 0
    """The number of the edit that changed them, which grows from edit to edit; 0 for none."""


NOTHING = Group()


@dataclass(frozen=True)
class Followed:
    """The track of a point."""

    placed: Placed
    """What it was made from."""
    fit: int
    """The number of the fit that made it."""
    version: int
    """Larger than that of any track before, also than those of an earlier server."""
    tracks: Tracks
    """Of this point alone."""

    def as_json(self) -> dict[str, Any]:
        """The track as it travels."""
        return {
            "id": self.placed.id,
            "version": self.version,
            "xy": _rounded(self.tracks.xy[0]),
            "visible": self.tracks.visible[0].astype(int).tolist(),
            "confidence": _rounded(self.tracks.confidence[0]),
        }


class Following:
    """Tracks by the ids of points. Whoever shares it between threads locks it."""

    def __init__(self) -> None:
        self._points: dict[int, Placed] = {}
        self._tracks: dict[int, Followed] = {}
        self._edited: dict[int, int] = {}
        self._touched: dict[int, int] = {}
        self._refused: set[tuple[int, Placed]] = set()
        self._count = -1
        self._version = time.time_ns() // 1_000_000

    def show(self, document: Document) -> None:
        """Follow the points of a document from now on. Those that differ are tracked first."""
        self._count += 1
        before, self._points = self._points, {p.id: p.placed for p in document.points}
        if self._count:  # the points of the first document are as good as each other
            changed = [n for n, placed in self._points.items() if before.get(n) != placed]
            self._edited |= dict.fromkeys(changed, self._count)
            self._touched |= dict.fromkeys(changed, self._count)
        for number in before.keys() - self._points.keys():
            self._edited.pop(number, None)
            self._touched.pop(number, None)
            self._tracks.pop(number, None)

    @property
    def ids(self) -> list[int]:
        """Of all points, in the document's order."""
        return list(self._points)

    def is_newest(self, placed: Placed) -> bool:
        """Whether a point is still where it was."""
        return self._points.get(placed.id) == placed

    def edited(self, after: int = 0) -> Group:
        """Some of the points of the latest edit that came after another, as far as they have no
        track since."""
        latest = max(self._edited.values(), default=0)
        if latest <= after:
            return NOTHING
        chosen = [n for n, count in self._edited.items() if count == latest]
        return Group(tuple(self._points[n] for n in chosen[:FEW]), latest)

    def due(self, fit: int) -> Group:
        """The points to track next with a fit: some of the latest edit, else some others, those
        that were edited last first, and few where none has a track of this fit yet."""
        group = self.edited()
        if group.points:
            return group
        stale = self.stale(self._points, fit)
        stale.sort(key=lambda n: (self._fit_of(n), -self._touched.get(n, 0)))
        most = FEW if len(stale) == len(self._points) else MANY
        return Group(tuple(self._points[n] for n in stale[:most]))

    def stale(self, ids: Iterable[int], fit: int) -> list[int]:
        """Those of some points that have no track of this fit, from where they are now, and could
        have one."""
        old = (n for n in ids if self._is_old(n) or self._fit_of(n) != fit)
        return [n for n in old if (fit, self._points[n]) not in self._refused]

    def refuse(self, points: Iterable[Placed], fit: int) -> None:
        """Note that a fit can't track some points."""
        self._refused |= {(fit, placed) for placed in points}
        self._no_longer_edited(points)

    def are_refused(self, ids: Iterable[int], fit: int) -> bool:
        """Whether a fit can't track one of some points."""
        return any((fit, self._points[n]) in self._refused for n in ids)

    def put(self, placed: Placed, fit: int, tracks: Tracks) -> None:
        """Take a track, unless the point is gone or has a newer one."""
        if placed.id not in self._points:
            return
        if not self.is_newest(placed) and not self._is_old(placed.id):
            return
        self._version += 1
        self._tracks[placed.id] = Followed(placed, fit, self._version, tracks)
        self._no_longer_edited([placed])

    def versions(self) -> dict[int, int]:
        """The version of each track that is there."""
        return {n: followed.version for n, followed in self._tracks.items()}

    def followed(self, ids: Sequence[int] | None = None) -> list[Followed]:
        """The tracks that are there, of some points or of all, in the document's order."""
        chosen = self._points.keys() if ids is None else set(ids)
        return [self._tracks[n] for n in self._points if n in chosen and n in self._tracks]

    def _no_longer_edited(self, points: Iterable[Placed]) -> None:
        """Note that points were tracked as they are now."""
        for placed in points:
            if self.is_newest(placed):
                self._edited.pop(placed.id, None)

    def _is_old(self, number: int) -> bool:
        """Whether a point's track, if there is one, is not from where the point is now."""
        followed = self._tracks.get(number)
        return followed is None or followed.placed != self._points[number]

    def _fit_of(self, number: int) -> int:
        """The number of the fit that made a point's track; -1 without one."""
        followed = self._tracks.get(number)
        return -1 if followed is None else followed.fit


def follow(fitted: Fitted, points: Sequence[Placed], progress: Progress) -> list[Tracks]:
    """The tracks of some points, each as a value of its own. Raises InputError."""
    with one_thread() if len(points) <= ALONE else nullcontext():
        tracks = fitted.track(
            [[point.t, point.x, point.y] for point in points],
            corrections=corrections_of(points),
            hidden=hidden_of(points),
            progress=progress,
        )
    return [tracks.chosen([n]) for n in range(len(points))]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let this thread compute alone, without the others that torch gives it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def corrections_of(points: Sequence[Placed]) -> list[list[float]]:
    """All corrections, rows of (point, t, x, y); points by their place in the sequence."""
    return [[n, *row] for n, point in enumerate(points) for row in point.corrections]


def hidden_of(points: Sequence[Placed]) -> list[list[int]]:
    """All stretches in which points are hidden, rows of (point, first frame, last frame)."""
    return [[n, *row] for n, point in enumerate(points) for row in point.hidden]


def joined(document: Document, followed: Sequence[Followed]) -> Tracks:
    """One or more tracks as one value, with names.

    A point without a name is called by its id, as in point_3, unless no point has one and the ids
    count from 0, when Tracks call them so themselves.
    """
    points = by_id(document)
    ids = [each.placed.id for each in followed]
    names = [points[n].name for n in ids]
    unnamed = ids == list(range(len(ids))) and not any(names)
    parts = [each.tracks for each in followed]
    first = parts[0]
    return Tracks(
        xy=np.concatenate([part.xy for part in parts]),
        visible=np.concatenate([part.visible for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        queries=np.concatenate([part.queries for part in parts]),
        size=first.size,
        fps=first.fps,
        uneven_times=first.uneven_times,
        names=None if unnamed else tuple(_name(n, points[n].name) for n in ids),
    )


def _name(number: int, name: str | None) -> str:
    return f"point_{number}" if name is None else name


def _rounded(values: np.ndarray) -> Any:
    return np.round(values.astype(np.float64), DECIMALS).tolist()
