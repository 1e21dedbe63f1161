"""Support points lie around their query and vote with their odds."""

import itertools

import pytest
import torch

from dinotrack.config import SupportConfig
from dinotrack.tracking.evidence import Evidence, Joined
from dinotrack.tracking.support import agree, surround
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


def plain_agreement(moved: list[float], odds: list[float]) -> float:
    """The least movement that half of the odds lie at or below."""
    below = 0.0
    for m, o in sorted(zip(moved, odds, strict=True)):
        below += o
        if below >= sum(odds) / 2:
            return m
    raise AssertionError


def test_support_points_vote_with_their_odds() -> None:
    count, frames = 3, 4
    queries = some_queries(frames, count)
    points = surround(queries, SupportConfig(reach=2.0), SIZE)
    evidence = some_evidence(5 * count, frames)
    xy = 10 * torch.rand((5 * count, frames, 2), generator=torch.Generator().manual_seed(1))
    agreed, means = agree(queries, points, Joined(xy, evidence), CONFIG.confidence)
    confidence = evidence.confidence(CONFIG.confidence)
    assert confidence.std() > 0.05
    for n, t, axis in itertools.product(range(count), range(frames), range(2)):
        rows = [k * count + n for k in range(5)]
        moved = [float(xy[r, t, axis] - points.xy[r, axis]) for r in rows]
        odds = [float(confidence[r, t] / (1 - confidence[r, t])) for r in rows]
        assert float(agreed[n, t, axis] - queries.xy[n, axis]) == pytest.approx(
            plain_agreement(moved, odds), abs=1e-4
        )
        assert float(means.cosine[n, t]) == pytest.approx(
            float(evidence.cosine[rows, t].mean()), abs=1e-6
        )


def test_a_query_that_lost_its_point_is_outvoted() -> None:
    frames = 4
    queries = queries_at((0, 30, 20))
    points = surround(queries, SupportConfig(reach=2.0), SIZE)
    expected = truth(points, frames)
    xy = expected.clone()
    xy[0, 2:] += 9.0
    alike = Evidence(*torch.full((6, 5, frames), 0.5))
    agreed = agree(queries, points, Joined(xy, alike), CONFIG.confidence)
    torch.testing.assert_close(agreed.xy, expected[:1])


def test_alone_a_query_goes_its_own_way() -> None:
    queries = some_queries(4, 6)
    joined = Joined(torch.rand((6, 4, 2)), some_evidence(6, 4))
    agreed = agree(queries, queries, joined, CONFIG.confidence)
    torch.testing.assert_close(agreed.xy, joined.xy)
    torch.testing.assert_close(agreed.evidence.features(), joined.evidence.features())
