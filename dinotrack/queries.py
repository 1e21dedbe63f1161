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
class Queries:
    """N points to track."""

    frame: Int[Tensor, " N"]
    """The query frame of each, counted from 0."""
    xy: Float[Tensor, "N 2"]
    """Its position there: float32 px of the frame that is worked with."""

    @staticmethod
    def from_rows(rows: Float[Tensor, "N 3"]) -> Queries:
        """From rows of (t, x, y), as users write them; t is a whole number."""
        return Queries(rows[:, 0].round().long(), rows[:, 1:])

    @property
    def rows(self) -> Float[Tensor, "N 3"]:
        """The inverse of `from_rows`."""
        return torch.cat((self.frame[:, None].to(self.xy.dtype), self.xy), dim=1)

    def __len__(self) -> int:
        """Points."""
        return len(self.xy)

    def __getitem__(self, part: slice) -> Queries:
        """Some of the queries."""
        return Queries(self.frame[part], self.xy[part])

    def to(self, device: torch.device) -> Queries:
        """The same queries on a device."""
        return Queries(self.frame.to(device), self.xy.to(device))

    def rescaled(self, before: tuple[int, int], after: tuple[int, int]) -> Queries:
        """The same places of a frame whose size changes from `before` (H, W) to `after`."""
        return Queries(self.frame, rescale(self.xy, before, after))

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
