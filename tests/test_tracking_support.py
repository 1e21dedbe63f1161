"""Support points lie around their query and vote with their odds."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from dinotrack.config import SupportConfig
from dinotrack.tracking.evidence import Evidence, Joined
from dinotrack.tracking.support import CLOSE, agree, geometric_median, surround
from tests.moving import CONFIG, HEIGHT, WIDTH, queries_at, some_queries, truth

SIZE = HEIGHT, WIDTH


def some_evidence(count: int, frames: int, seed: int = 0) -> Evidence:
    rng = torch.Generator().manual_seed(seed)
    return Evidence(*torch.rand((6, count, frames), generator=rng))


def test_support_points_lie_around_their_query_and_inside_the_frame() -> None:
    queries = queries_at((2, 20, 10), (5, 63, 0))
    expected = torch.tensor(
        (
            ((2.0, 20.0, 10.0), (5.0, 63.0, 0.0)),
            ((2.0, 17.0, 10.0), (5.0, 60.0, 0.0)),
            ((2.0, 23.0, 10.0), (5.0, 63.0, 0.0)),
            ((2.0, 20.0, 7.0), (5.0, 63.0, 0.0)),
            ((2.0, 20.0, 13.0), (5.0, 63.0, 3.0)),
        )
    )
    around = surround(queries, SupportConfig(reach=3.0), SIZE)
    torch.testing.assert_close(around.rows, expected.flatten(0, 1))
    alone = surround(queries, SupportConfig(reach=0.0), SIZE)
    torch.testing.assert_close(alone.rows, expected[0])


def spread(place: Tensor, moved: Tensor, odds: Tensor) -> float:
    """The sum of distances that the votes make least, in plain Python."""
    total = 0.0
    for (x, y), o in zip(moved.tolist(), odds.tolist(), strict=True):
        total += o * math.sqrt((x - float(place[0])) ** 2 + (y - float(place[1])) ** 2 + CLOSE**2)
    return total


def test_support_points_vote_with_their_odds() -> None:
    """No place a pixel from the one that is voted for has a smaller sum of distances."""
    count, frames = 3, 4
    queries = some_queries(frames, count)
    points = surround(queries, SupportConfig(reach=2.0), SIZE)
    evidence = some_evidence(5 * count, frames)
    xy = 10 * torch.rand((5 * count, frames, 2), generator=torch.Generator().manual_seed(1))
    agreed, means = agree(queries, points, Joined(xy, evidence), CONFIG.confidence)
    confidence = evidence.confidence(CONFIG.confidence)
    assert confidence.std() > 0.05
    for n, t in itertools.product(range(count), range(frames)):
        rows = [k * count + n for k in range(5)]
        moved = xy[rows, t] - points.xy[rows]
        odds = confidence[rows, t] / (1 - confidence[rows, t])
        voted = agreed[n, t] - queries.xy[n]
        for turn in range(8):
            angle = turn * math.pi / 4
            aside = voted + torch.tensor((math.cos(angle), math.sin(angle)))
            assert spread(voted, moved, odds) < spread(aside, moved, odds)
        assert float(means.cosine[n, t]) == pytest.approx(
            float(evidence.cosine[rows, t].mean()), abs=1e-6
        )


def test_votes_turn_with_the_picture() -> None:
    """The median does not depend on the axes."""
    rng = torch.Generator().manual_seed(2)
    values = 20 * torch.rand((5, 6, 3, 2), generator=rng)
    weights = torch.rand((5, 6, 3, 1), generator=rng)
    turn = torch.tensor(((0.6, 0.8), (-0.8, 0.6)))
    turned = geometric_median(values @ turn, weights)
    torch.testing.assert_close(turned, geometric_median(values, weights) @ turn)


def test_a_query_that_lost_its_point_is_outvoted() -> None:
    frames = 4
    queries = queries_at((0, 30, 20))
    points = surround(queries, SupportConfig(reach=2.0), SIZE)
    expected = truth(points, frames)
    xy = expected.clone()
    xy[0, 2:] += 9.0
    alike = Evidence(*torch.full((6, 5, frames), 0.5))
    agreed = agree(queries, points, Joined(xy, alike), CONFIG.confidence)
    torch.testing.assert_close(agreed.xy, expected[:1], atol=0.2, rtol=0)


def test_alone_a_query_goes_its_own_way() -> None:
    queries = some_queries(4, 6)
    joined = Joined(torch.rand((6, 4, 2)), some_evidence(6, 4))
    agreed = agree(queries, queries, joined, CONFIG.confidence)
    torch.testing.assert_close(agreed.xy, joined.xy)
    torch.testing.assert_close(agreed.evidence.regressors(), joined.evidence.regressors())
