"""Where points surely are: at their queries, and where somebody corrected their tracks.

A track passes through all of its anchors. Between two of them it is followed from both sides, and
what a point looks like is known from each. See docs/method.md 8 "Corrections".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack.correlation import normalise
from dinotrack.queries import Queries


@dataclass(frozen=True)
class Anchors:
    """A places of N points in T frames."""

    places: Queries
    """All A of them; those of the points' own queries come first, in the order of the points."""
    point: Int[Tensor, " A"]
    """Which point each belongs to."""
    before: Int[Tensor, "N T"]
    """The number of each point's last anchor up to each frame; -1 where there is none."""
    after: Int[Tensor, "N T"]
    """That of the first one from each frame on."""

    @property
    def given(self) -> Bool[Tensor, "N T"]:
        """Whether a frame holds an anchor of a point."""
        return (self.before == self.after) & (self.before >= 0)

    @cached_property
    def is_alone(self) -> Bool[Tensor, " N"]:
        """Whether a point has one anchor alone."""
        return self.point.bincount(minlength=len(self.before)) == 1

    @cached_property
    def share_of_next(self) -> Float[Tensor, "N T"]:
        """How much each point's next anchor counts in a frame, from 0 to 1; the last one counts the
        rest, and each as much as it is near."""
        past, future = self.distances()
        share = (past / (past + future).clamp(min=1)).nan_to_num(0.0)
        return torch.where(past.isinf(), 1.0, share)

    def distances(self) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
        """Frames since each point's last anchor, and until its next one; infinite without one."""
        frames = torch.arange(self.before.shape[1], device=self.before.device)
        past = (frames - self.places.frame[self.before]).float()
        future = (self.places.frame[self.after] - frames).float()
        past = past.masked_fill(self.before < 0, torch.inf)
        return past, future.masked_fill(self.after < 0, torch.inf)


def anchors_of(queries: Queries, frames: int) -> Anchors:
    """The anchors of queries in a video of so many frames.

    Where a point is corrected in its own query's frame, the correction is what holds.
    """
    point = torch.arange(len(queries), device=queries.frame.device)
    places = Queries(queries.frame, queries.xy)
    made = queries.corrections
    if made is not None:
        point = torch.cat((point, made.point))
        both = torch.cat((places.frame, made.frame)), torch.cat((places.xy, made.xy))
        places = Queries(*both)
    number = point.new_full((len(queries), frames), -1)
    for row in range(len(queries), len(point)):  # few, and the last one in a frame holds
        number[point[row], places.frame[row]] = row
    own = torch.arange(len(queries), device=point.device)
    first = number[own, queries.frame]
    number[own, queries.frame] = torch.where(first < 0, own, first)
    after = _filled(number.flip(1)).flip(1)
    return Anchors(places, point, _filled(number), after)


def _filled(number: Int[Tensor, "N T"]) -> Int[Tensor, "N T"]:
    """Each row with the last number of 0 or more that came before in the place of a -1."""
    frames = torch.arange(number.shape[1], device=number.device)
    last = torch.where(number >= 0, frames, -1).cummax(dim=1).values
    return torch.where(last >= 0, number.gather(1, last.clamp(min=0)), -1)


@dataclass(frozen=True)
class Looks:
    """What N points look like, of unit length, in each frame as far as their anchors tell."""

    all: Float[Tensor, "N C"]
    """At all of their anchors together, and wherever else they were surely seen."""
    each: Float[Tensor, "A C"] | None = None
    """At each of the anchors; None where every point has one alone."""
    anchors: Anchors | None = None
    """Those that `each` is of."""

    def at(self, t: int) -> Float[Tensor, "N C"]:
        """In frame t: half as everywhere, and half as at the anchors before and after it.

        Of these two each counts as much as it is near. A point with one anchor looks as everywhere,
        whether other points have more or not.
        """
        if self.each is None or self.anchors is None:
            return self.all
        before, after = self.anchors.before[:, t], self.anchors.after[:, t]
        share = self.anchors.share_of_next[:, t, None]
        near = torch.lerp(self.each[before], self.each[after], share)
        alone = self.anchors.is_alone[:, None]
        return torch.where(alone, self.all, normalise(near + self.all, dim=1))


def looks_of(anchors: Anchors, units: Float[Tensor, "A C"]) -> Looks:
    """What points look like, from what each of their anchors looks like, of unit length."""
    count = len(anchors.before)
    if len(units) == count:
        return Looks(units)
    total = torch.zeros_like(units[:count]).index_add_(0, anchors.point, units)
    return Looks(normalise(total, dim=1), units, anchors)
