"""Patches that flow has lost are found again near the path, and only there."""

import dataclasses
from collections.abc import Sequence

import torch

from dinotrack.queries import Queries
from dinotrack.tracking.flow_chain import Chain, follow
from dinotrack.tracking.joining import TrackedVideo, join
from dinotrack.tracking.patches import Grey, Patches, make_patches
from dinotrack.tracking.refinding import refind
from tests.moving import (
    CONFIG,
    constant_flow,
    moving_frames,
    peaked_tracker,
    queries_at,
    shifted_maps,
    truth,
)

FRAMES, HIDDEN = 8, (3, 4)
ASIDE = torch.tensor((1.6, -1.2))
"""Px: how far a match is off, half a cell."""


def lost(queries: Queries, frames: int, hidden: Sequence[int]) -> tuple[Patches, Chain]:
    """Flow that ended at the hidden frames."""
    flow = constant_flow(frames)
    flow.backward[min(hidden) - 1].mul_(-5)
    patches = make_patches(Grey(moving_frames(frames, hidden)), queries, CONFIG.patches)
    chain = follow(flow, queries, CONFIG.chain, patches)
    assert not chain.followed[:, min(hidden) :].any()
    return patches, chain


def test_a_lost_patch_is_found_again_behind_an_occlusion() -> None:
    queries = queries_at((0, 20, 34), (1, 25, 30))
    patches, chain = lost(queries, FRAMES, HIDDEN)
    expected = truth(queries, FRAMES)
    near = expected + ASIDE
    looked = refind(patches, chain, near, CONFIG.refinding)
    assert looked.found[:, 5:].all()
    assert (looked.places - expected).norm(dim=-1)[:, 5:].max() < 0.2
    assert not looked.found[:, :5].any()  # followed, or hidden
    assert torch.equal(looked.places[:, :3], near[:, :3])


def test_a_lost_patch_is_not_looked_for_far_away() -> None:
    queries = queries_at((0, 20, 34))
    patches, chain = lost(queries, FRAMES, HIDDEN)
    near = truth(queries, FRAMES) + ASIDE
    config = dataclasses.replace(CONFIG.refinding, search=1.5)
    looked = refind(patches, chain, near, config)
    assert ((looked.places - near).norm(dim=-1) < 1.5).all()


def test_a_patch_is_looked_for_again_only_where_its_place_has_moved() -> None:
    queries = queries_at((0, 20, 34), (1, 25, 30))
    patches, chain = lost(queries, FRAMES, HIDDEN)
    near = truth(queries, FRAMES) + ASIDE
    first = refind(patches, chain, near, CONFIG.refinding)
    moved = near.clone()
    moved[:, 5] += 0.5  # and the others by next to nothing
    moved[:, 6:] += 0.01
    again = refind(patches, chain, moved, CONFIG.refinding, first)
    afresh = refind(patches, chain, moved, CONFIG.refinding)
    assert torch.equal(again.places[:, 5], afresh.places[:, 5])
    assert torch.equal(again.places[:, 6:], first.places[:, 6:])
    assert torch.equal(again.found, first.found)


def test_what_is_found_again_sharpens_the_track() -> None:
    """Matches are a cell coarse; behind the occlusion the patch is a tenth of a pixel sharp."""
    queries = queries_at((0, 20, 34))
    flow, expected = constant_flow(FRAMES), truth(queries, FRAMES)
    flow.backward[3].mul_(-5)  # flow loses itself at the occlusion, both ways
    scene = TrackedVideo(
        peaked_tracker(), shifted_maps(FRAMES), flow, moving_frames(FRAMES, HIDDEN)
    )
    never = dataclasses.replace(CONFIG.refinding, likeness=1.1)
    coarse = join(scene, queries, dataclasses.replace(CONFIG, refinding=never))
    sharp = join(scene, queries, CONFIG)
    error = [(joined.xy - expected).norm(dim=-1)[:, 5:].max() for joined in (coarse, sharp)]
    assert error[1] < 0.25
    assert error[1] < 0.5 * error[0]
