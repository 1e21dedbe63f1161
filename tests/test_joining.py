"""Matches joined by flow: against plain oracles, and on motion that is known exactly."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack import joining
from dinotrack.config import FAST, InferenceConfig, ModelConfig, override
from dinotrack.errors import InputError
from dinotrack.flow import ConsecutiveFlow, Flow
from dinotrack.geometry import Grid
from dinotrack.joining import (
    Chain,
    Evidence,
    Footage,
    agree,
    best_path,
    follow,
    join,
    make_footage,
    propose,
    refind,
    remember,
    smooth,
    strain,
    surround,
    track_by_joining,
)
from dinotrack.model import Tracker

HEIGHT, WIDTH, STRIDE, CHANNELS = 48, 64, 4, 16
GRID = Grid(HEIGHT // STRIDE, WIDTH // STRIDE, STRIDE, (STRIDE - 1) / 2)
SHIFT = (3.0, -1.5)  # px a frame
CONFIG = InferenceConfig(  # the tests' own numbers: presets may change theirs
    method="join",
    candidates=3,
    match_scale=0.1,
    step_scale=2.0,
    jump_cost=2.0,
    occluded_jump_cost=0.5,
    chain_error=3.0,
    flow_error=2.0,
    flow_noise=0.1,
    match_noise=3.0,
    match_reach=2.0,
    stray=8.0,
    confidence_weights=(-3.4, 6.3, -0.3, 1.0, 0.0, 0.0, 0.0, 0.0),
    visible_confidence=0.5,
)


NOWHERE = torch.zeros((1, 1), dtype=torch.bool)  # a path that is anchored nowhere


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    """Reads a softmax of the cosines around their peak: the refiner starts as almost the
    identity."""
    config = ModelConfig(
        widths=(4,), dims=CHANNELS, refiner_width=4, sharp_start=True, radius=8.0, temperature=0.05
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Tracker(config, None).eval()


def shifted_maps(frames: int, seed: int = 0) -> Tensor:
    """One smooth random map, moved by SHIFT a frame: [T, C, h, w]."""
    rng = torch.Generator().manual_seed(seed)
    wide = torch.randn((1, CHANNELS, HEIGHT * 2, WIDTH * 2), generator=rng)
    wide = F.avg_pool2d(F.avg_pool2d(wide, 9, 1, 4), 9, 1, 4)
    plane = Grid(HEIGHT * 2, WIDTH * 2, 1.0, 0.0)
    start = torch.tensor((WIDTH / 2, HEIGHT / 2))
    maps = [
        plane.sample(wide, (GRID.centres() + start - t * torch.tensor(SHIFT))[None])[0]
        for t in range(frames)
    ]
    return torch.stack([m.T.reshape(CHANNELS, GRID.rows, GRID.cols) for m in maps])


def constant_flow(frames: int) -> ConsecutiveFlow:
    forward = torch.tensor(SHIFT)[None, :, None, None].expand(frames - 1, 2, HEIGHT, WIDTH).clone()
    return ConsecutiveFlow(forward, -forward)


def random_flow(frames: int, size: float, seed: int) -> ConsecutiveFlow:
    """Smooth motion; the way back is nearly the way there."""
    rng = torch.Generator().manual_seed(seed)
    coarse = size * torch.randn((2, frames - 1, 2, 4, 5), generator=rng)
    forward, noise = (
        F.interpolate(c, (HEIGHT, WIDTH), mode="bilinear", align_corners=True) for c in coarse
    )
    return ConsecutiveFlow(forward, -forward + 0.3 * noise)


def footage(tracker: Tracker, maps: Tensor) -> Footage:
    """Moving as all do here, without any texture."""
    return Footage(tracker, maps, GRID, constant_flow(len(maps)), blank(len(maps)))


def blank(frames: int) -> Tensor:
    """Pictures without any texture: no patch can be located in them."""
    return torch.full((frames, HEIGHT, WIDTH), 0.5)


def truth(queries: Tensor, frames: int) -> Tensor:
    times = torch.arange(frames)[None, :, None] - queries[:, 0, None, None]
    return queries[:, None, 1:] + times * torch.tensor(SHIFT)


def within(xy: Tensor, margin: float) -> Tensor:
    x, y = xy.unbind(-1)
    return (x >= margin) & (x <= WIDTH - 1 - margin) & (y >= margin) & (y <= HEIGHT - 1 - margin)


def some_queries(frames: int, count: int = 12, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    t = torch.randint(frames, (count, 1), generator=rng)
    return torch.cat(
        (t, torch.rand((count, 2), generator=rng) * torch.tensor((WIDTH - 1, HEIGHT - 1))), dim=1
    )


def plain_step(flow: ConsecutiveFlow, xy: Tensor, t: int, other: int) -> tuple[Tensor, float]:
    early = min(t, other)
    there, back = (flow.forward, flow.backward) if other > t else (flow.backward, flow.forward)
    moved = Flow(there[early]).move(xy[None])[0]
    return moved, float((Flow(back[early]).move(moved[None])[0] - xy).norm())


def test_follow_is_one_step_after_another() -> None:
    frames, limit = 6, 1.0
    flow, queries = random_flow(frames, 4.0, seed=1), some_queries(frames, 40, seed=2)
    chain = follow(flow, blank(frames), queries, dataclasses.replace(CONFIG, chain_error=limit))
    xy, followed = chain.xy, chain.followed
    for row, query in enumerate(queries):
        own = int(query[0])
        expected = {own: query[1:]}
        for direction in (1, -1):
            t, place = own, query[1:]
            while 0 <= t + direction < frames:
                moved, error = plain_step(flow, place, t, t + direction)
                if error >= limit or not bool(within(moved, 0)):
                    break
                t, place = t + direction, moved
                expected[t] = place
        assert followed[row].nonzero()[:, 0].tolist() == sorted(expected)
        for t, place in expected.items():
            torch.testing.assert_close(xy[row, t], place, atol=1e-4, rtol=1e-5)
    assert 0.2 < followed.float().mean() < 0.95
    assert (xy[~followed] == 0).all()


def plain_cost(
    path: tuple[int, ...], places: Tensor, cost: Tensor, own: int, flow: ConsecutiveFlow
) -> float:
    """Matches passed and steps taken, as `best_path` says in words."""
    if path[own] != 0:
        return float("inf")
    total = sum(float(cost[t, k]) for t, k in enumerate(path) if t != own)
    for t in range(1, len(path)):
        before, after = places[t - 1, path[t - 1]], places[t, path[t]]
        there, error = plain_step(flow, before, t - 1, t)
        back, back_error = plain_step(flow, after, t, t - 1)
        distance = min(float((there - after).norm()), float((back - before).norm()))
        sure = error < CONFIG.flow_error or back_error < CONFIG.flow_error
        total += min(
            distance / CONFIG.step_scale, CONFIG.jump_cost if sure else CONFIG.occluded_jump_cost
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
    found = best_path(places, cost, own, flow, CONFIG)
    for row in range(count):
        every = itertools.product(range(options), repeat=frames)
        least = min(plain_cost(path, places[row], cost[row], int(own[row]), flow) for path in every)
        mine = plain_cost(tuple(found[row].tolist()), places[row], cost[row], int(own[row]), flow)
        assert mine == pytest.approx(least, abs=1e-4)


def test_proposals_lie_apart_and_their_first_is_the_match(tracker: Tracker) -> None:
    maps = shifted_maps(3)
    vectors = F.normalize(maps[0, :, 5, 6][None], dim=1)
    xy, cosine = propose(footage(tracker, maps), vectors, 3)
    assert (xy[0, 0, 0] - GRID.to_pixels(torch.tensor((6.0, 5.0)))).norm() < 0.5
    assert cosine[0, 0, 0] > 0.98
    gaps = torch.cdist(xy[0], xy[0])[:, *np.triu_indices(3, 1)]
    assert gaps.min() > STRIDE
    assert cosine[0, :, 0].sub(cosine[0, :, 1:].amax(1)).min() > 0


def test_translation_is_followed_within_a_pixel(tracker: Tracker) -> None:
    """Queries of every frame are tracked forwards and backwards."""
    frames = 6
    queries, flow, maps = some_queries(frames, 24), constant_flow(frames), shifted_maps(frames)
    xy, evidence = join(Footage(tracker, maps, GRID, flow, blank(frames)), queries, CONFIG)
    expected = truth(queries, frames)
    seen = within(expected, STRIDE)
    errors = (xy - expected).norm(dim=-1)
    assert errors[seen].max() < 1
    assert errors[seen].mean() < 0.1
    assert (evidence.cosine[seen] > 0.95).all()
    assert (evidence.cycle_error[seen].expm1() < STRIDE).all()
    assert (evidence.confidence(CONFIG)[seen] > 0.8).all()
    assert ((queries[:, 0] > 0) & (queries[:, 0] < frames - 1)).sum() > 5


def test_comes_back_after_an_occluder(tracker: Tracker) -> None:
    """In two frames features are others' and flow contradicts itself; then the point is found
    again."""
    frames, hidden = 8, [3, 4]
    maps, flow = shifted_maps(frames), constant_flow(frames)
    maps[hidden] = shifted_maps(2, seed=9)
    flow.forward[2:5] = torch.tensor((9.0, 9.0))[:, None, None]
    flow.backward[2:5] = torch.tensor((9.0, -9.0))[:, None, None]
    queries = torch.tensor([(0.0, x, y) for x in (12.0, 20.0, 30.0) for y in (20.0, 28.0, 38.0)])
    xy, evidence = join(Footage(tracker, maps, GRID, flow, blank(frames)), queries, CONFIG)
    after = [0, 1, 2, 5, 6, 7]
    expected = truth(queries, frames)
    assert within(expected, STRIDE).all()
    assert (xy - expected).norm(dim=-1)[:, after].max() < 1.5
    score = evidence.confidence(CONFIG)
    assert score[:, 5:].min() > score[:, hidden].max()
    assert not evidence.followed[:, 3:].any()


def test_smooth_keeps_exact_matches() -> None:
    frames = 5
    queries = torch.tensor([[2.0, 30.0, 24.0], [0.0, 20.0, 30.0]])
    expected = truth(queries, frames)
    peaks = torch.stack((expected + 20, expected), dim=2)
    xy = smooth(expected.clone(), peaks, queries, constant_flow(frames), CONFIG, NOWHERE)
    torch.testing.assert_close(xy, expected, atol=1e-3, rtol=0)


def test_smooth_averages_noisy_matches() -> None:
    """Flow is exact, the query certain: the track hardly moves however the matches scatter."""
    frames = 6
    queries = torch.tensor([[0.0, 20.0, 34.0]])
    expected = truth(queries, frames)
    noise = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    noise[:, 0] = 0
    xy = smooth(
        expected + noise,
        (expected + noise)[:, :, None],
        queries,
        constant_flow(frames),
        CONFIG,
        NOWHERE,
    )
    assert (xy - expected).norm(dim=-1).max() < 0.1


def test_smooth_leaves_matches_that_are_far_alone() -> None:
    """Where flow is lost and no match is near, the path itself is all there is."""
    frames = 3
    flow = constant_flow(frames)
    flow.backward.mul_(-5)  # contradicts the way there everywhere
    queries = torch.tensor([[0.0, 20.0, 34.0]])
    rough = truth(queries, frames)
    xy = smooth(rough, (rough + 15)[:, :, None], queries, flow, CONFIG, NOWHERE)
    torch.testing.assert_close(xy, rough, atol=1e-2, rtol=0)


def test_one_frame(tracker: Tracker) -> None:
    queries = torch.tensor([[0.0, 20.0, 30.0], [0.0, 0.0, 0.0]])
    frames = torch.full((1, 3, HEIGHT, WIDTH), 127, dtype=torch.uint8)
    flow = ConsecutiveFlow(torch.zeros((0, 2, HEIGHT, WIDTH)), torch.zeros((0, 2, HEIGHT, WIDTH)))
    xy, visible, confidence = track_by_joining(
        make_footage(tracker, shifted_maps(1), GRID, flow, frames), queries, CONFIG
    )
    torch.testing.assert_close(xy[:, 0], queries[:, 1:], atol=1e-2, rtol=0)
    assert visible.all()
    assert confidence.shape == (2, 1)


@pytest.mark.parametrize(
    "maps", [torch.zeros(4, CHANNELS, GRID.rows, GRID.cols), torch.ones(4, CHANNELS, 12, 16)]
)
def test_finite_where_nothing_can_be_told_apart(tracker: Tracker, maps: Tensor) -> None:
    corners = torch.tensor(
        [[t, x, y] for t in (0.0, 3.0) for x in (-0.5, WIDTH - 0.5) for y in (-0.5, HEIGHT - 0.5)]
    )
    frames = torch.zeros((4, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    config = dataclasses.replace(CONFIG, candidates=30)  # more than there is room for
    seen = make_footage(tracker, maps, GRID, random_flow(4, 30.0, 0), frames)
    xy, visible, confidence = track_by_joining(seen, corners, config)
    assert torch.isfinite(xy).all()
    assert visible.shape == confidence.shape == (8, 4)
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_two_candidates_are_the_fewest(tracker: Tracker) -> None:
    """How distinct the best match is takes a second."""
    with pytest.raises(InputError, match="at least 2"):
        override(FAST, {"inference.candidates": 1})
    queries, config = some_queries(3, 4), dataclasses.replace(CONFIG, candidates=2)
    _, evidence = join(footage(tracker, shifted_maps(3)), queries, config)
    assert (evidence.distinctness >= 0).all()


def test_groups_of_queries_change_nothing(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, told = 4, []
    video = torch.randint(
        256, (frames, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0)
    ).byte()
    seen = make_footage(tracker, shifted_maps(frames), GRID, random_flow(frames, 2.0, 3), video)
    args = seen, some_queries(frames, 7), CONFIG
    whole = track_by_joining(*args)
    monkeypatch.setattr(joining, "QUERIES_AT_ONCE", 2)
    parts = track_by_joining(*args, lambda *report: told.append(report))
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert told == [("track", done, 7) for done in (2, 4, 6, 7)]


def test_only_what_was_surely_seen_elsewhere_is_remembered() -> None:
    config = dataclasses.replace(CONFIG, memory_weight=2.0, memory_confidence=0.8)
    vectors = torch.nn.functional.normalize(torch.randn(3, 6), dim=1)
    seen = torch.randn(3, 5, 6)
    confidence = torch.tensor(
        [[1.0, 0.9, 0.1, 0.85, 0.0], [0.1, 1.0, 0.2, 0.3, 0.4], [0.9, 0.9, 1.0, 0.9, 0.9]]
    )
    queries = torch.tensor([[0.0, 1, 1], [1.0, 2, 2], [2.0, 3, 3]])
    found = remember(vectors, F.normalize(seen, dim=2).unbind(1), confidence, queries, config)
    for n in range(3):
        unit = [
            seen[n, t] / seen[n, t].norm()
            for t in range(5)
            if confidence[n, t] >= 0.8 and t != int(queries[n, 0])
        ]
        expected = vectors[n] + (2.0 * torch.stack(unit).mean(0) if unit else 0.0)
        torch.testing.assert_close(found[n], expected / expected.norm())


def moving_pictures(frames: int, hidden: Sequence[int] = ()) -> Tensor:
    """A smooth random picture moved by SHIFT a frame, [T, H, W]; another one in the hidden
    frames."""
    rng = torch.Generator().manual_seed(3)
    plane = Grid(HEIGHT * 2, WIDTH * 2, 1.0, 0.0)
    places = Grid(HEIGHT, WIDTH, 1.0, 0.0).centres() + torch.tensor((WIDTH / 2, HEIGHT / 2))
    wide, other = (
        F.avg_pool2d(torch.rand((1, 1, HEIGHT * 2, WIDTH * 2), generator=rng), 5, 1, 2)
        for _ in range(2)
    )
    shifted = [places - t * torch.tensor(SHIFT) for t in range(frames)]
    read = [
        plane.sample(other if t in hidden else wide, xy[None])[0] for t, xy in enumerate(shifted)
    ]
    return torch.stack([values.reshape(HEIGHT, WIDTH) for values in read])


def test_errors_of_flow_do_not_add_up_where_the_patch_is_found() -> None:
    frames = 6
    flow = constant_flow(frames)
    flow.forward.add_(0.7)  # half a pixel and more off at every step, both ways alike
    flow.backward.sub_(0.7)
    queries = torch.tensor([[0.0, 20.0, 30.0], [5.0, 40.0, 20.0]])
    expected = truth(queries, frames)
    mended = follow(flow, moving_pictures(frames), queries, CONFIG)
    drifting = follow(flow, blank(frames), queries, CONFIG)
    assert mended.anchored.all()
    assert (mended.xy - expected).norm(dim=-1).max() < 0.15
    assert (drifting.xy - expected).norm(dim=-1).max() > 4
    assert not drifting.anchored[:, 1:5].any()


def test_flow_is_not_followed_onto_what_looks_otherwise() -> None:
    """An occluder moves as the point does, so flow is consistent; the picture says that it is
    another thing."""
    frames = 6
    queries = torch.tensor([[0.0, 20.0, 30.0]])
    chain = follow(
        constant_flow(frames), moving_pictures(frames, hidden=(3, 4, 5)), queries, CONFIG
    )
    assert chain.followed.tolist() == [[True, True, True, False, False, False]]
    assert (chain.likeness[0, :3] > 0.95).all()
    assert (chain.likeness[0, 3:] == 0).all()


def lost_chain(queries: Tensor, frames: int, hidden: Sequence[int]) -> Chain:
    """Flow that ended at the hidden frames."""
    flow = constant_flow(frames)
    flow.backward[min(hidden) - 1].mul_(-5)
    chain = follow(flow, moving_pictures(frames, hidden), queries, CONFIG)
    assert not chain.followed[:, min(hidden) :].any()
    return chain


def test_a_lost_patch_is_found_again_behind_an_occlusion() -> None:
    frames, hidden = 8, (3, 4)
    queries = torch.tensor([[0.0, 20.0, 34.0], [1.0, 25.0, 30.0]])
    chain, expected = lost_chain(queries, frames, hidden), truth(queries, frames)
    near = expected + torch.tensor((1.6, -1.2))  # a match, half a cell off
    looked = refind(moving_pictures(frames, hidden), chain, near, CONFIG)
    places, found = looked.places, looked.found
    assert found[:, 5:].all()
    assert (places - expected).norm(dim=-1)[:, 5:].max() < 0.2
    assert not found[:, :5].any()  # followed, or hidden
    assert torch.equal(places[:, :3], near[:, :3])


def test_a_lost_patch_is_not_looked_for_far_away() -> None:
    frames, hidden = 8, (3, 4)
    queries = torch.tensor([[0.0, 20.0, 34.0]])
    chain, expected = lost_chain(queries, frames, hidden), truth(queries, frames)
    near, config = (
        expected + torch.tensor((1.6, -1.2)),
        dataclasses.replace(CONFIG, patch_search=1.5),
    )
    looked = refind(moving_pictures(frames, hidden), chain, near, config)
    assert ((looked.places - near).norm(dim=-1) < 1.5).all()


def test_a_patch_is_looked_for_again_only_where_its_place_has_moved() -> None:
    frames, hidden = 8, (3, 4)
    queries = torch.tensor([[0.0, 20.0, 34.0], [1.0, 25.0, 30.0]])
    chain, near = (
        lost_chain(queries, frames, hidden),
        truth(queries, frames) + torch.tensor((1.6, -1.2)),
    )
    pictures = moving_pictures(frames, hidden)
    first = refind(pictures, chain, near, CONFIG)
    moved = near.clone()
    moved[:, 5] += 0.5  # and the others by next to nothing
    moved[:, 6:] += 0.01
    again, afresh = (
        refind(pictures, chain, moved, CONFIG, first),
        refind(pictures, chain, moved, CONFIG),
    )
    assert torch.equal(again.places[:, 5], afresh.places[:, 5])
    assert torch.equal(again.places[:, 6:], first.places[:, 6:])
    assert torch.equal(again.found, first.found)


def test_what_is_found_again_sharpens_the_track(tracker: Tracker) -> None:
    """Matches are a cell coarse; behind the occlusion the patch is a tenth of a pixel sharp."""
    frames, hidden = 8, (3, 4)
    maps, queries = shifted_maps(frames), torch.tensor([[0.0, 20.0, 34.0]])
    flow, expected = constant_flow(frames), truth(queries, frames)
    flow.backward[3].mul_(-5)  # flow loses itself at the occlusion, both ways
    seen = Footage(tracker, maps, GRID, flow, moving_pictures(frames, hidden))
    coarse, _ = join(seen, queries, dataclasses.replace(CONFIG, patch_refound=1.1))
    sharp, _ = join(seen, queries, CONFIG)
    error = [(xy - expected).norm(dim=-1)[:, 5:].max() for xy in (coarse, sharp)]
    assert error[1] < 0.25
    assert error[1] < 0.5 * error[0]


def test_strain_is_what_flow_and_path_disagree_by() -> None:
    frames = 4
    flow = random_flow(frames, 3.0, 5)
    xy = torch.rand((3, frames, 2), generator=torch.Generator().manual_seed(1)) * 40
    found = strain(flow, xy)
    for n, t in itertools.product(range(3), range(frames)):
        off = []
        if t + 1 < frames:
            off.append(float((plain_step(flow, xy[n, t], t, t + 1)[0] - xy[n, t + 1]).norm()))
        if t > 0:
            off.append(float((plain_step(flow, xy[n, t], t, t - 1)[0] - xy[n, t - 1]).norm()))
        assert float(found[n, t]) == pytest.approx(float(np.log1p(off).mean()), abs=1e-4)


def test_support_points_lie_around_their_query_and_inside_the_frame() -> None:
    queries = torch.tensor(((2.0, 20.0, 10.0), (5.0, 63.0, 0.0)))
    expected = torch.tensor(
        (
            ((2.0, 20.0, 10.0), (5.0, 63.0, 0.0)),
            ((2.0, 17.0, 10.0), (5.0, 60.0, 0.0)),
            ((2.0, 23.0, 10.0), (5.0, 63.0, 0.0)),
            ((2.0, 20.0, 7.0), (5.0, 63.0, 0.0)),
            ((2.0, 20.0, 13.0), (5.0, 63.0, 3.0)),
        )
    )
    torch.testing.assert_close(surround(queries, 3.0, (HEIGHT, WIDTH)), expected)
    torch.testing.assert_close(surround(queries, 0.0, (HEIGHT, WIDTH)), expected[:1])


def some_evidence(count: int, frames: int, seed: int = 0) -> Evidence:
    rng = torch.Generator().manual_seed(seed)
    return Evidence(*torch.rand((6, count, frames), generator=rng))


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
    points = surround(some_queries(frames, count), 2.0, (HEIGHT, WIDTH))
    evidence = some_evidence(5 * count, frames)
    xy = 10 * torch.rand((5 * count, frames, 2), generator=torch.Generator().manual_seed(1))
    agreed, means = agree(points, xy, evidence, CONFIG)
    confidence = evidence.confidence(CONFIG)
    assert confidence.std() > 0.05
    for n, t, axis in itertools.product(range(count), range(frames), range(2)):
        rows = [k * count + n for k in range(5)]
        moved = [float(xy[r, t, axis] - points[k, n, 1 + axis]) for k, r in enumerate(rows)]
        odds = [float(confidence[r, t] / (1 - confidence[r, t])) for r in rows]
        assert float(agreed[n, t, axis] - points[0, n, 1 + axis]) == pytest.approx(
            plain_agreement(moved, odds), abs=1e-4
        )
        assert float(means.cosine[n, t]) == pytest.approx(
            float(evidence.cosine[rows, t].mean()), abs=1e-6
        )


def test_a_query_that_went_astray_is_outvoted() -> None:
    frames = 4
    points = surround(torch.tensor(((0.0, 30.0, 20.0),)), 2.0, (HEIGHT, WIDTH))
    expected = truth(points[:, 0], frames)
    xy = expected.clone()
    xy[0, 2:] += 9.0
    alike = Evidence(*torch.full((6, 5, frames), 0.5))
    torch.testing.assert_close(agree(points, xy, alike, CONFIG)[0], expected[:1])


def test_alone_a_query_goes_its_own_way() -> None:
    points = some_queries(4, 6)[None]
    xy, evidence = torch.rand((6, 4, 2)), some_evidence(6, 4)
    agreed, means = agree(points, xy, evidence, CONFIG)
    torch.testing.assert_close(agreed, xy)
    torch.testing.assert_close(means.features(), evidence.features())
