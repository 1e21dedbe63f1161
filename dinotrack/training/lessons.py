"""What a hand's corrections teach: where points are, in the frames in which that is sure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dinotrack.config import TeachingConfig
from dinotrack.errors import InputError
from dinotrack.geometry import in_picture
from dinotrack.queries import Queries, Trajectories

NOTHING_TAUGHT = (
    "there is nothing to teach, as no corrected point is known in two frames; correct a point in "
    "another frame than its query's, in which it is seen"
)


@dataclass(frozen=True)
class Lesson:
    """Places of N points in T frames."""

    xy: Float[Tensor, "N T 2"]
    """Px of the working frame."""
    weight: Float[Tensor, "N T"]
    """How often a place is drawn, in relation to others; 0 where nobody knows it."""

    @property
    def known(self) -> Bool[Tensor, "N T"]:
        """Where the points are known to be."""
        return self.weight > 0


def lesson_of(
    queries: Queries,
    found: Trajectories,
    hidden: Bool[Tensor, "N T"],
    size: tuple[int, int],
    config: TeachingConfig,
) -> Lesson:
    """What corrections and the tracks that they make sure of teach.

    Of the queries, which all were corrected, those are taken of which two places are known.

    found: their tracks, which pass through the corrections, in px of working frames of size (H, W),
    as the queries are. hidden: where a hand says that a point is not seen.

    Raises InputError where nothing is left of that.
    """
    xy = found.xy.clone()
    sure = found.visible & (found.confidence >= config.sure)
    weight = sure.float()
    rows = torch.arange(len(queries), device=xy.device)
    xy[rows, queries.frame] = queries.xy
    weight[rows, queries.frame] = config.given
    made = queries.corrections
    if made is not None:
        for point, frame, place in zip(made.point, made.frame, made.xy, strict=True):
            xy[point, frame] = place  # one after the other, as the last one in a frame holds
            weight[point, frame] = config.given
    weight = weight * (~hidden & in_picture(xy, size))
    known = (weight > 0).sum(dim=1) > 1
    if not known.any():
        raise InputError(NOTHING_TAUGHT)
    return Lesson(xy[known].cpu(), weight[known].cpu())
