"""What a tracker is asked, and what it answers: points, and where they go.

Both are in px of the frame that is worked with. What users get is `tracks.Tracks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack.geometry import in_picture, rescale


@dataclass(frozen=True)
class Trajectories:
    """Where N points are in each of T frames."""

    xy: Float[Tensor, "N T 2"]
    """Px, finite everywhere, where a point is hidden too."""
    visible: Bool[Tensor, "N T"]
    confidence: Float[Tensor, "N T"]
    """In [0, 1]: how surely a point is visible and where it is said to be."""

    @staticmethod
    def joined(parts: Sequence[Trajectories]) -> Trajectories:
        """The points of several, one after the other."""
        return Trajectories(
            torch.cat([part.xy for part in parts]),
            torch.cat([part.visible for part in parts]),
            torch.cat([part.confidence for part in parts]),
        )

    def rescaled(self, before: tuple[int, int], after: tuple[int, int]) -> Trajectories:
        """The same places of a frame whose size changes from `before` (H, W) to `after`."""
        return Trajectories(rescale(self.xy, before, after), self.visible, self.confidence)

    def seen_within(self, size: tuple[int, int]) -> Trajectories:
        """The same places, where none is visible that lies outside the picture of size (H, W).

        The picture reaches from -0.5 to W - 0.5 px, and to H - 0.5 px.
        """
        within = in_picture(self.xy, size)
        return Trajectories(self.xy, self.visible & within, self.confidence * within)


@dataclass(frozen=True)
class Corrections:
    """Where a hand placed points in M further frames."""

    point: Int[Tensor, " M"]
    """The number of the query, counted from 0."""
    frame: Int[Tensor, " M"]
    xy: Float[Tensor, "M 2"]
    """Float32 px of the frame that is worked with."""

    def of(self, part: slice, count: int) -> Corrections:
        """Those of some of `count` points, with the numbers that these have among themselves."""
        start, stop, _ = part.indices(count)
        mine = (self.point >= start) & (self.point < stop)
        return Corrections(self.point[mine] - start, self.frame[mine], self.xy[mine])


@dataclass(frozen=True)
class Queries:
    """N points to track."""

    frame: Int[Tensor, " N"]
    """The query frame of each, counted from 0."""
    xy: Float[Tensor, "N 2"]
    """Its position there: float32 px of the frame that is worked with."""
    corrections: Corrections | None = None
    """Where they are known to be in further frames."""

    @staticmethod
    def from_rows(
        rows: Float[Tensor, "N 3"], corrections: Float[Tensor, "M 4"] | None = None
    ) -> Queries:
        """From rows of (t, x, y), as users write them; t is a whole number.

        corrections: rows of (point, t, x, y).
        """
        made = None
        if corrections is not None and len(corrections):
            point, frame = corrections[:, :2].round().long().unbind(1)
            made = Corrections(point, frame, corrections[:, 2:])
        return Queries(rows[:, 0].round().long(), rows[:, 1:], made)

    @property
    def rows(self) -> Float[Tensor, "N 3"]:
        """The inverse of `from_rows`."""
        return torch.cat((self.frame[:, None].to(self.xy.dtype), self.xy), dim=1)

    def __len__(self) -> int:
        """Points."""
        return len(self.xy)

    def __getitem__(self, part: slice) -> Queries:
        """Some of the queries."""
        made = self.corrections
        ours = None if made is None else made.of(part, len(self))
        return Queries(self.frame[part], self.xy[part], ours)

    def to(self, device: torch.device) -> Queries:
        """The same queries on a device."""
        made = self.corrections
        if made is not None:
            moved = made.point.to(device), made.frame.to(device), made.xy.to(device)
            made = Corrections(*moved)
        return Queries(self.frame.to(device), self.xy.to(device), made)

    def rescaled(self, before: tuple[int, int], after: tuple[int, int]) -> Queries:
        """The same places of a frame whose size changes from `before` (H, W) to `after`."""
        made = self.corrections
        if made is not None:
            made = Corrections(made.point, made.frame, rescale(made.xy, before, after))
        return Queries(self.frame, rescale(self.xy, before, after), made)

    def pinned(self, found: Trajectories) -> Trajectories:
        """Trajectories that pass through their queries: there a point is visible, surely."""
        rows = torch.arange(len(self), device=found.xy.device)
        xy = found.xy.clone()
        visible = found.visible.clone()
        confidence = found.confidence.clone()
        xy[rows, self.frame] = self.xy
        visible[rows, self.frame] = True
        confidence[rows, self.frame] = 1.0
        return Trajectories(xy, visible, confidence)

    def corrected(self, found: Trajectories) -> Trajectories:
        """Trajectories that pass through the corrections: there a point is visible, surely."""
        made = self.corrections
        if made is None:
            return found
        xy = found.xy.clone()
        visible = found.visible.clone()
        confidence = found.confidence.clone()
        for point, frame, place in zip(made.point, made.frame, made.xy, strict=True):
            xy[point, frame] = place  # the last one of a frame holds
        visible[made.point, made.frame] = True
        confidence[made.point, made.frame] = 1.0
        return Trajectories(xy, visible, confidence)
