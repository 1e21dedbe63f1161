"""What a fit learns from beyond flow: where points are, in the frames in which that is sure.

A lesson is made of points that a hand corrected ("Teaching"), or of those that are asked for
("Focus"); see docs/method.md 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dinotrack.config import TeachingConfig
from dinotrack.geometry import in_picture
from dinotrack.queries import Queries, Trajectories

FOCUS = "focus-"
"""What the name of a lesson begins with that no hand gave."""


def is_focus(lesson: str) -> bool:
    """Whether a lesson of that name is of points that were asked for, and of no hand's."""
    return lesson.startswith(FOCUS)


def seed_of(lesson: str, seed: int) -> int:
    """The seed of a lesson's random numbers. lesson: its name. seed: that of the fit."""
    return seed ^ int(lesson.removeprefix(FOCUS)[:8], 16)


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
) -> Lesson | None:
    """What points teach: where they were given, and where their tracks are sure.

    Of the queries, those are taken of which two places are known. Without any, there is no lesson.

    found: their tracks, which pass through their corrections, in px of working frames of size
    (H, W), as the queries are. hidden: where a hand says that a point is not seen.
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
        return None
    return Lesson(xy[known].cpu(), weight[known].cpu())
