"""Candidates are what each frame proposes, and the best path costs the least of all paths."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.flow import VideoFlow
from dinotrack.tracking.anchors import Looks
from dinotrack.tracking.candidates import Candidates, propose
from dinotrack.tracking.path import best_path
from tests.moving import (
    CONFIG,
    GRID,
    HEIGHT,
    STRIDE,
    WIDTH,
    peaked_tracker,
    plain_step,
    random_flow,
    shifted_maps,
)


def plain_cost(
    path: tuple[int, ...], places: Tensor, cost: Tensor, own: int, flow: VideoFlow
) -> float:
    """Matches passed and steps taken, as `best_path` says in words."""
    config = CONFIG.path
    if path[own] != 0:
        return float("inf")
    total = sum(float(cost[t, k]) for t, k in enumerate(path) if t != own)
    for t in range(1, len(path)):
        before, after = places[t - 1, path[t - 1]], places[t, path[t]]
        there, error = plain_step(flow, before, t - 1, t)
        back, back_error = plain_step(flow, after, t, t - 1)
        distance = min(float((there - after).norm()), float((back - before).norm()))
        sure = error < config.flow_error or back_error < config.flow_error
        total += min(
            distance / config.step_scale, config.jump_cost if sure else config.occluded_jump_cost
        )
    return total


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_best_path_costs_the_least_of_all(seed: int) -> None:
    frames, options, count = 4, 3, 4
    rng = torch.Generator().manual_seed(seed)
    flow = random_flow(frames, 5.0, seed)
    places = torch.rand((count, frames, options, 2), generator=rng) * torch.tensor(
        (WIDTH / 3, HEIGHT / 3)
    )
    cost = 2 * torch.rand((count, frames, options), generator=rng)
    own = torch.randint(frames, (count,), generator=rng)
    candidates = Candidates(places, 1 - cost * CONFIG.path.match_scale)
    given = own[:, None] == torch.arange(frames)
    found = best_path(candidates, given, flow, CONFIG.path)
    for row in range(count):
        every = itertools.product(range(options), repeat=frames)
        least = min(plain_cost(path, places[row], cost[row], int(own[row]), flow) for path in every)
        mine = plain_cost(tuple(found[row].tolist()), places[row], cost[row], int(own[row]), flow)
        assert mine == pytest.approx(least, abs=1e-4)


def test_no_path_passes_a_candidate_that_there_is_not() -> None:
    places = torch.zeros((1, 3, 2, 2))
    cosine = torch.tensor([[[1.0, 0.9], [-torch.inf, 0.1], [0.9, 0.2]]])
    given = torch.tensor([[True, False, False]])
    path = best_path(Candidates(places, cosine), given, random_flow(3, 1.0, 0), CONFIG.path)
    assert path.tolist() == [[0, 1, 0]]


def test_proposals_lie_apart_and_their_first_is_the_match() -> None:
    maps = shifted_maps(3)
    vectors = F.normalize(maps.values[0, :, 5, 6][None], dim=1)
    found = propose(peaked_tracker(), maps, Looks(vectors), 3)
    xy, cosine = found.xy, found.cosine
    assert (xy[0, 0, 0] - GRID.to_pixels(torch.tensor((6.0, 5.0)))).norm() < 0.5
    assert cosine[0, 0, 0] > 0.98
    gaps = torch.cdist(xy[0], xy[0])[:, *np.triu_indices(3, 1)]
    assert gaps.min() > STRIDE
    assert cosine[0, :, 0].sub(cosine[0, :, 1:].amax(1)).min() > 0
    best = cosine.sort(dim=2, descending=True).values
    torch.testing.assert_close(found.distinctness(), best[..., 0] - best[..., 1])
