"""Flow is followed one step after another, and held to what the query looks like."""

import dataclasses

import torch

from dinotrack.flow import Flow, Leaps, VideoFlow
from dinotrack.queries import Corrections, Queries
from dinotrack.tracking.anchors import anchors_of
from dinotrack.tracking.flow_chain import QueryChains, follow
from dinotrack.tracking.patches import Grey, make_patches
from tests.moving import (
    CONFIG,
    blank_frames,
    constant_flow,
    moving_frames,
    plain_step,
    queries_at,
    random_flow,
    some_queries,
    truth,
    within,
)


def followed_in(frames: torch.Tensor, flow: VideoFlow, queries: Queries) -> QueryChains:
    patches = make_patches(Grey(frames), queries, CONFIG.patches)
    return follow(flow, queries, CONFIG.chain, patches)


def test_follow_is_one_step_after_another() -> None:
    frames, limit = 6, 1.0
    flow, queries = random_flow(frames, 4.0, seed=1), some_queries(frames, 40, seed=2)
    patches = make_patches(Grey(blank_frames(frames)), queries, CONFIG.patches)
    strict = dataclasses.replace(CONFIG.chain, cycle_error=limit)
    alone = follow(flow, queries, strict)
    for chain in (alone, follow(flow, queries, strict, patches)):
        for row, (own, start) in enumerate(zip(queries.frame.tolist(), queries.xy, strict=True)):
            expected = {own: start}
            for direction in (1, -1):
                t, place = own, start
                while 0 <= t + direction < frames:
                    moved, error = plain_step(flow, place, t, t + direction)
                    if error >= limit or not bool(within(moved, 0)):
                        break
                    t, place = t + direction, moved
                    expected[t] = place
            assert chain.followed[row].nonzero()[:, 0].tolist() == sorted(expected)
            reached = (chain.nearest()[row, 0], chain.nearest()[row, -1])
            assert reached == (min(expected), max(expected))
            for t, place in expected.items():
                torch.testing.assert_close(chain.xy[row, t], place, atol=1e-4, rtol=1e-5)
        assert 0.2 < chain.followed.float().mean() < 0.95
        assert (chain.xy[~chain.followed] == 0).all()
    rows = torch.arange(len(queries))
    looked = alone.likeness.clone()
    looked[rows, queries.frame] -= 1
    assert (looked == 0).all()  # flow alone knows only what a query itself looks like
    assert (alone.shape == torch.eye(2)).all()


def test_errors_of_flow_do_not_add_up_where_the_patch_is_found() -> None:
    frames = 6
    flow = constant_flow(frames)
    flow.forward.add_(0.7)  # half a pixel and more off at every step, both ways alike
    flow.backward.sub_(0.7)
    queries = queries_at((0, 20, 30), (5, 40, 20))
    expected = truth(queries, frames)
    mended = followed_in(moving_frames(frames), flow, queries)
    drifting = followed_in(blank_frames(frames), flow, queries)
    assert (mended.hops == 0).all()
    assert (mended.xy - expected).norm(dim=-1).max() < 0.15
    assert (drifting.xy - expected).norm(dim=-1).max() > 4
    away = (torch.arange(frames) - queries.frame[:, None]).abs()
    assert torch.equal(drifting.hops, away)  # a flow a frame, and nothing was found
    assert torch.equal(drifting.precise(2), away <= 2)


def with_random_leaps(flow: VideoFlow, spans: tuple[int, ...], seed: int) -> VideoFlow:
    """Leaps that have nothing to do with the steps; the way back is nearly the way there."""
    rng = torch.Generator().manual_seed(seed)
    height, width = (side // 2 for side in flow.size)
    leaps = []
    for span in spans:
        shape = flow.frame_count - span, 2, height, width
        forward = 3 * torch.randn((*shape[:2], 1, 1), generator=rng).expand(shape).clone()
        noise = 0.6 * torch.randn((*shape[:2], 1, 1), generator=rng)
        leaps.append(Leaps(span, forward, noise - forward))
    return dataclasses.replace(flow, leaps=tuple(leaps))


def plain_way(flow: VideoFlow, start: torch.Tensor, own: int, way: int) -> dict[int, tuple]:
    """(place, hops) by frame, one flow after the other: the oracle of `follow` with leaps."""
    reached = {own: (start, 0)}
    t = own + way
    while 0 <= t < flow.frame_count:
        place, hops = reached[t - way]
        moved, error = plain_step(flow, place, t - way, t)
        if error >= CONFIG.chain.cycle_error or not bool(within(moved, 0)):
            break
        best = moved, hops + 1
        for leaps in flow.leaps:
            known = reached.get(t - way * leaps.span)
            if known is None:
                continue
            there, back = (leaps.forward, leaps.backward)[::way]
            early = min(t, t - way * leaps.span)
            far = Flow(there[early], 2).move(known[0][None])[0]
            error = (Flow(back[early], 2).move(far[None])[0] - known[0]).norm()
            believed = error < CONFIG.chain.leap_error and bool(within(far, 0))
            if believed and known[1] + 1 < best[1]:
                best = far, known[1] + 1
        reached[t] = best
        t += way
    return reached


def test_of_steps_and_leaps_the_fewest_flows_lead_to_a_frame() -> None:
    frames = 9
    flow = with_random_leaps(random_flow(frames, 2.0, seed=1), (2, 4), seed=5)
    queries = some_queries(frames, 40, seed=2)
    chain = followed_in(blank_frames(frames), flow, queries)
    leapt = 0
    for row, (own, start) in enumerate(zip(queries.frame.tolist(), queries.xy, strict=True)):
        ways = plain_way(flow, start, own, 1) | plain_way(flow, start, own, -1)
        assert chain.followed[row].nonzero()[:, 0].tolist() == sorted(ways)
        for t, (place, hops) in ways.items():
            torch.testing.assert_close(chain.xy[row, t], place, atol=1e-4, rtol=1e-5)
            assert chain.hops[row, t] == hops
            leapt += hops < abs(t - own)
    assert leapt > 20


def test_leaps_keep_errors_of_steps_from_adding_up() -> None:
    frames = 9
    flow = constant_flow(frames)
    exact = constant_flow(frames).forward[:, :, ::2, ::2]
    flow.forward.add_(0.7)
    flow.backward.sub_(0.7)
    leaps = Leaps(4, 4 * exact[:5], -4 * exact[:5])
    queries = queries_at((0, 20, 30))
    drifting = followed_in(blank_frames(frames), flow, queries)
    leaping = followed_in(blank_frames(frames), dataclasses.replace(flow, leaps=(leaps,)), queries)
    error = (leaping.xy - truth(queries, frames)).norm(dim=-1)[0]
    assert error[[4, 8]].max() < 1e-4
    assert (drifting.xy - truth(queries, frames)).norm(dim=-1)[0, 8] > 7
    assert leaping.hops.tolist() == [[0, 1, 2, 3, 1, 2, 3, 4, 2]]


def test_a_leap_is_believed_up_to_its_own_error() -> None:
    frames = 5
    flow = constant_flow(frames)
    forward = 4 * flow.forward[:1, :, ::2, ::2]
    leaps = Leaps(4, forward, 1.0 - forward)  # misses itself by 1.4 px
    leaping = dataclasses.replace(flow, leaps=(leaps,))
    queries = queries_at((0, 20, 30))
    for limit, hops in ((2.0, 1), (1.0, 4)):
        config = dataclasses.replace(CONFIG.chain, cycle_error=9.0 - 8 * (limit > 1.5))
        config = dataclasses.replace(config, leap_error=limit)
        patches = make_patches(Grey(blank_frames(frames)), queries, CONFIG.patches)
        assert int(follow(leaping, queries, config, patches).hops[0, 4]) == hops


def test_a_patch_turns_as_a_leap_says() -> None:
    """Steps move without a turn here, and the leap alone stretches what is around the point."""
    frames = 5
    flow = constant_flow(frames)
    flow.forward.zero_()
    flow.backward.zero_()
    places = Flow(flow.forward[0]).halved().grid.centres() - torch.tensor((30.0, 20.0))
    rows, cols = Flow(flow.forward[0]).halved().displacement.shape[1:]
    stretch = torch.tensor((0.25, -0.125))
    there = (places * stretch).T.reshape(1, 2, rows, cols)
    back = (places * (1 / (1 + stretch) - 1)).T.reshape(1, 2, rows, cols)
    leaping = dataclasses.replace(flow, leaps=(Leaps(4, there, back),))
    forwards = followed_in(blank_frames(frames), leaping, queries_at((0, 30, 20)))
    expected = torch.diag(1 + stretch)
    torch.testing.assert_close(forwards.shape[0, 4], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(forwards.shape[0, 3], torch.eye(2), atol=1e-3, rtol=0)
    backwards = followed_in(blank_frames(frames), leaping, queries_at((4, 30, 20)))
    torch.testing.assert_close(backwards.shape[0, 0], expected.inverse(), atol=1e-3, rtol=0)


def test_a_leap_goes_on_from_the_last_correction_alone() -> None:
    """The point was corrected in frame 2, so nothing leaps from frame 0 to frame 4."""
    frames = 6
    flow = with_random_leaps(constant_flow(frames), (4,), seed=5)
    queries = queries_at((0, 20, 30))
    place = torch.tensor([[30.0, 24.0]])
    made = Corrections(torch.tensor([0]), torch.tensor([2]), place)
    corrected = dataclasses.replace(queries, corrections=made)
    anchors = anchors_of(corrected, frames)
    patches = make_patches(Grey(blank_frames(frames)), anchors.places, CONFIG.patches)
    chain = follow(flow, corrected, CONFIG.chain, patches)
    assert chain.hops[0, 2:].tolist() == [0, 1, 2, 3]
    expected = place[0] + 2 * flow.forward[0, :, 0, 0]
    torch.testing.assert_close(chain.xy[0, 4], expected)


def test_no_leap_crosses_a_cut() -> None:
    frames = 9
    flow = with_random_leaps(random_flow(frames, 1.0, seed=1), (4,), seed=5)
    cut = dataclasses.replace(flow, cuts=frozenset({4}))
    step = cut.step(queries_at((0, 20, 30)).xy, 2, 6)
    assert step.error.isinf().all()
    assert not cut.step(queries_at((0, 20, 30)).xy, 4, 8).error.isinf().any()
    chain = followed_in(blank_frames(frames), cut, queries_at((0, 20, 30)))
    assert not chain.followed[0, 4:].any()


def test_flow_is_not_followed_onto_what_looks_otherwise() -> None:
    """An occluder moves as the point does, so that flow is consistent.

    But the picture says that the occluder is another thing.
    """
    frames = 6
    pictures = moving_frames(frames, hidden=(3, 4, 5))
    chain = followed_in(pictures, constant_flow(frames), queries_at((0, 20, 30)))
    assert chain.followed.tolist() == [[True, True, True, False, False, False]]
    assert (chain.likeness[0, :3] > 0.95).all()
    assert (chain.likeness[0, 3:] == 0).all()
