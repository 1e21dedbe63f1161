"""Points around each query that are tracked as it is, and vote on where it went.

A single point may be fooled in a frame by noise or by what looks alike, but hardly in the same way
as its neighbours, which move with it. So four more points are tracked around each query, each on
its own, and the query moves as the weighted geometric median of the five movements. A median,
unlike a mean, is not dragged along by the one that went wrong. See docs/method.md 8 "Support
points".

Source: E. Weiszfeld, "Sur le point pour lequel la somme des distances de n points donnés est
minimum", 1937.
"""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dinotrack.config import ConfidenceConfig, SupportConfig
from dinotrack.queries import Corrections, Queries
from dinotrack.tracking.evidence import Evidence, Joined

ROUNDS = 10
"""Of Weiszfeld's algorithm, each of which comes nearer to the median."""
CLOSE = 0.5
"""Px. Movements that are hardly farther apart count as one, and their mean is the median: what
differs by less is noise, over which a mean is better."""


def surround(queries: Queries, config: SupportConfig, size: tuple[int, int]) -> Queries:
    """The queries, then the points config.reach px left, right, above and below of them.

    All queries come first, then all points to their left, and so on: five times as many, or the
    queries alone for a reach of 0. A point that would lie outside of a frame of size (H, W) lies on
    its border.
    """
    if not config.reach:
        return queries
    height, width = size
    directions = queries.xy.new_tensor(((-1, 0), (1, 0), (0, -1), (0, 1)))
    corner = queries.xy.new_tensor((width - 1, height - 1))
    around = queries.xy + (directions * config.reach)[:, None]
    around = around.clamp(min=torch.zeros_like(corner), max=corner)
    return Queries(
        queries.frame.repeat(1 + len(directions)),
        torch.cat((queries.xy, around.flatten(0, 1))),
        _moved_along(queries, torch.cat((queries.xy[None], around)) - queries.xy),
    )


def _moved_along(queries: Queries, offsets: Float[Tensor, "V N 2"]) -> Corrections | None:
    """The corrections of points that lie some px from the queries, and move as these do."""
    made = queries.corrections
    if made is None:
        return None
    votes = len(offsets)
    number = torch.arange(votes, device=made.point.device)[:, None] * len(queries)
    places = made.xy + offsets[:, made.point]
    return Corrections(
        (number + made.point).flatten(), made.frame.repeat(votes), places.flatten(0, 1)
    )


def agree(queries: Queries, points: Queries, joined: Joined, config: ConfidenceConfig) -> Joined:
    """Where queries went, from what they and the points around them did.

    points are those that `surround` made of the queries, and joined is where each of them went. A
    query moves as the weighted geometric median of their movements. A vote weighs the odds that its
    point is right. What speaks for a query is the mean of what speaks for its points.
    """
    votes = len(points) // len(queries), len(queries)
    start = points.xy.unflatten(0, votes)[:, :, None]
    confidence = joined.evidence.confidence(config)
    odds = confidence.logit(eps=1e-6).exp().unflatten(0, votes)[..., None]
    movement = joined.xy.unflatten(0, votes) - start
    return Joined(start[0] + geometric_median(movement, odds), _mean(joined.evidence, votes))


def geometric_median(
    values: Float[Tensor, "V N T 2"], weights: Float[Tensor, "V N T 1"]
) -> Float[Tensor, "N T 2"]:
    """The place (px) to which V places have the least weighted sum of distances.

    A distance d counts as the root of d^2 + CLOSE^2, so that the sum is smooth. From the place of
    the V that is best, each round takes the mean whose weights are divided by the distances.
    """
    distances = (values[:, None] - values).norm(dim=-1, keepdim=True)
    best = (weights * distances).sum(dim=1).argmin(dim=0, keepdim=True)
    middle = values.gather(0, best.expand(-1, -1, -1, 2))[0]
    for _ in range(ROUNDS):
        squares = (values - middle).square().sum(dim=-1, keepdim=True)
        shares = weights / (squares + CLOSE**2).sqrt()
        middle = (shares * values).sum(dim=0) / shares.sum(dim=0)
    return middle


def _mean(evidence: Evidence, votes: tuple[int, int]) -> Evidence:
    """Of the points of each query."""
    names = [field.name for field in fields(evidence) if field.name != "cuts"]
    each = {name: getattr(evidence, name).unflatten(0, votes) for name in names}
    return replace(evidence, **{name: values.mean(dim=0) for name, values in each.items()})
