"""Flow is followed one step after another, and held to what the query looks like."""

import dataclasses

import torch

from dinotrack.flow import VideoFlow
from dinotrack.queries import Queries
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
    assert mended.patch_found.all()
    assert (mended.xy - expected).norm(dim=-1).max() < 0.15
    assert (drifting.xy - expected).norm(dim=-1).max() > 4
    assert not drifting.patch_found[:, 1:5].any()


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
