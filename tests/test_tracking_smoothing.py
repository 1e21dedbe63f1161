"""Positions are weighed as a Kalman smoother weighs them."""

import math

import torch
from torch import Tensor

from dinotrack.flow import VideoFlow
from dinotrack.queries import Queries
from dinotrack.tracking.path import Path
from dinotrack.tracking.smoothing import smooth
from tests.moving import (
    CONFIG,
    constant_flow,
    given_in,
    plain_step,
    queries_at,
    random_flow,
    truth,
    within,
)


def smoothed(rough: Tensor, matches: Tensor, queries: Queries, flow: VideoFlow) -> Tensor:
    """Along a path on which no patch was found."""
    nowhere = torch.zeros(rough.shape[:2], dtype=torch.bool)
    given = given_in(rough.shape[1], queries)
    return smooth(Path(rough, nowhere, nowhere.float()), matches, given, flow, CONFIG.smoothing)


def test_smooth_keeps_exact_matches() -> None:
    frames = 5
    queries = queries_at((2, 30, 24), (0, 20, 30))
    expected = truth(queries, frames)
    matches = torch.stack((expected + 20, expected), dim=2)
    xy = smoothed(expected.clone(), matches, queries, constant_flow(frames))
    torch.testing.assert_close(xy, expected, atol=1e-3, rtol=0)


def test_smooth_averages_noisy_matches() -> None:
    """Flow is exact, the query certain: the track hardly moves however the matches scatter."""
    frames = 6
    queries = queries_at((0, 20, 34))
    expected = truth(queries, frames)
    noise = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    noise[:, 0] = 0
    noisy = expected + noise
    xy = smoothed(noisy, noisy[:, :, None], queries, constant_flow(frames))
    assert (xy - expected).norm(dim=-1).max() < 0.1


def test_smooth_leaves_matches_that_are_far_alone() -> None:
    """Where flow is lost and no match is near, the path itself is all there is."""
    frames = 3
    flow = constant_flow(frames)
    flow.backward.mul_(-5)  # contradicts the way there everywhere
    queries = queries_at((0, 20, 34))
    rough = truth(queries, frames)
    xy = smoothed(rough, (rough + 15)[:, :, None], queries, flow)
    torch.testing.assert_close(xy, rough, atol=1e-2, rtol=0)


def plain_filter(
    path: Tensor, measured: Tensor, variance: Tensor, flow: VideoFlow, order: list[int]
) -> tuple[dict[int, tuple[Tensor, float]], dict[int, tuple[Tensor, float]]]:
    """One point, one number at a time: position and variance before and after each measurement."""
    config = CONFIG.smoothing
    before, after = {}, {}
    for step, t in enumerate(order):
        xy, spread = path[t], 1e6
        if step:
            last = order[step - 1]
            moved, error = plain_step(flow, after[last][0], last, t)
            off = float((moved - path[t]).norm())
            if error <= config.flow_error and off <= config.restart and bool(within(moved, 0)):
                xy, spread = moved, after[last][1] + config.flow_noise**2
        before[t] = xy, spread
        gain = spread / (spread + float(variance[t]))
        after[t] = xy + gain * (measured[t] - xy), (1 - gain) * spread
    return before, after


def test_smooth_is_two_plain_filters_that_are_weighed_by_their_variances() -> None:
    frames, config = 5, CONFIG.smoothing
    rng = torch.Generator().manual_seed(4)
    flow = random_flow(frames, 1.5, 3)
    queries = queries_at((0, 30, 20), (2, 25, 30), (4, 40, 22))
    rough = queries.xy[:, None] + torch.randn((3, frames, 2), generator=rng)
    matches = rough[:, :, None] + 2 * torch.randn((3, frames, 2, 2), generator=rng)
    precise = torch.rand((3, frames), generator=rng) < 0.3
    sharpness = torch.rand((3, frames), generator=rng)
    given = given_in(frames, queries)
    rough[given] = queries.xy
    found = smooth(Path(rough, precise, sharpness), matches, given, flow, config)
    for n in range(3):
        own = int(queries.frame[n])
        measured, variance = [], []
        for t in range(frames):
            nearest = min(matches[n, t], key=lambda match, t=t: float((match - rough[n, t]).norm()))
            near = (nearest - rough[n, t]).norm() < config.match_reach
            place, noise = nearest, config.match_noise if near else torch.inf
            if precise[n, t]:
                share = float(sharpness[n, t])
                noise = math.exp(
                    share * math.log(config.patch_noise)
                    + (1 - share) * math.log(config.match_noise)
                )
                place = rough[n, t]
            if t == own:
                place, noise = queries.xy[n], config.query_noise
            measured.append(place)
            variance.append(noise**2)
        given = torch.stack(measured), torch.tensor(variance)
        _, past = plain_filter(rough[n], *given, flow, list(range(frames)))
        future, _ = plain_filter(rough[n], *given, flow, list(range(frames))[::-1])
        for t in range(frames):
            (ahead, a), (behind, b) = past[t], future[t]
            expected = (b * ahead + a * behind) / (a + b)
            torch.testing.assert_close(found[n, t], expected, atol=1e-3, rtol=0)
