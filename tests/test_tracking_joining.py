"""Matches joined by flow, from end to end, on motion that is known exactly."""

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from dinotrack import chunks
from dinotrack.config import FAST, override
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.flow import Leaps, VideoFlow
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.queries import Trajectories
from dinotrack.tracking import joining
from dinotrack.tracking.joining import TrackedVideo, join, track_by_joining
from dinotrack.tracking.path import Path
from dinotrack.tracking.smoothing import smooth
from tests.moving import (
    CHANNELS,
    CONFIG,
    GRID,
    HEIGHT,
    STRIDE,
    WIDTH,
    blank_scene,
    constant_flow,
    moving_frames,
    peaked_tracker,
    queries_at,
    random_flow,
    shifted_maps,
    some_queries,
    truth,
    within,
)


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return peaked_tracker()


def assert_alike(one: Trajectories, other: Trajectories) -> None:
    for field in dataclasses.fields(Trajectories):
        torch.testing.assert_close(
            getattr(one, field.name), getattr(other, field.name), atol=1e-4, rtol=1e-4
        )


def test_translation_is_followed_within_a_pixel(tracker: Tracker) -> None:
    """Queries of every frame are tracked forwards and backwards."""
    frames = 6
    queries = some_queries(frames, 24)
    xy, evidence = join(blank_scene(tracker, shifted_maps(frames)), queries, CONFIG)
    expected = truth(queries, frames)
    seen = within(expected, STRIDE)
    errors = (xy - expected).norm(dim=-1)
    assert errors[seen].max() < 1
    assert errors[seen].mean() < 0.1
    assert (evidence.cosine[seen] > 0.95).all()
    assert (evidence.cycle_error[seen].expm1() < STRIDE).all()
    assert (evidence.confidence(CONFIG.confidence)[seen] > 0.8).all()
    assert ((queries.frame > 0) & (queries.frame < frames - 1)).sum() > 5


def test_comes_back_after_an_occluder(tracker: Tracker) -> None:
    """In two frames features are others' and flow contradicts itself.

    Then the point is found again.
    """
    frames, hidden = 8, [3, 4]
    maps, flow = shifted_maps(frames), constant_flow(frames)
    maps.values[hidden] = shifted_maps(2, seed=9).values
    flow.forward[2:5] = torch.tensor((9.0, 9.0))[:, None, None]
    flow.backward[2:5] = torch.tensor((9.0, -9.0))[:, None, None]
    queries = queries_at(*((0, x, y) for x in (12, 20, 30) for y in (20, 28, 38)))
    xy, evidence = join(blank_scene(tracker, maps, flow), queries, CONFIG)
    after = [0, 1, 2, 5, 6, 7]
    expected = truth(queries, frames)
    assert within(expected, STRIDE).all()
    assert (xy - expected).norm(dim=-1)[:, after].max() < 1.5
    score = evidence.confidence(CONFIG.confidence)
    assert score[:, 5:].min() > score[:, hidden].max()
    assert not evidence.followed[:, 3:].any()


def test_one_frame(tracker: Tracker) -> None:
    queries = queries_at((0, 20, 30), (0, 0, 0))
    still = VideoFlow(torch.zeros((0, 2, HEIGHT, WIDTH)), torch.zeros((0, 2, HEIGHT, WIDTH)))
    found = track_by_joining(blank_scene(tracker, shifted_maps(1), still), queries, CONFIG)
    torch.testing.assert_close(found.xy[:, 0], queries.xy, atol=1e-2, rtol=0)
    assert found.visible.all()
    assert found.confidence.shape == (2, 1)


@pytest.mark.parametrize(
    "maps", [torch.zeros(4, CHANNELS, GRID.rows, GRID.cols), torch.ones(4, CHANNELS, 12, 16)]
)
def test_finite_where_nothing_can_be_told_apart(tracker: Tracker, maps: Tensor) -> None:
    corners = queries_at(
        *((t, x, y) for t in (0, 3) for x in (-0.5, WIDTH - 0.5) for y in (-0.5, HEIGHT - 0.5))
    )
    many = dataclasses.replace(CONFIG.path, candidates=30)  # more than there is room for
    scene = TrackedVideo(
        tracker,
        FeatureMaps(maps, GRID),
        random_flow(4, 30.0, 0),
        torch.zeros((4, 3, HEIGHT, WIDTH), dtype=torch.uint8),
    )
    found = track_by_joining(scene, corners, dataclasses.replace(CONFIG, path=many))
    assert torch.isfinite(found.xy).all()
    assert found.visible.shape == found.confidence.shape == (8, 4)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


def test_two_candidates_are_the_fewest(tracker: Tracker) -> None:
    """How distinct the best match is takes a second."""
    with pytest.raises(InputError, match="at least 2"):
        override(FAST, {"inference.path.candidates": 1})
    two = dataclasses.replace(CONFIG.path, candidates=2)
    scene = blank_scene(tracker, shifted_maps(3))
    joined = join(scene, some_queries(3, 4), dataclasses.replace(CONFIG, path=two))
    assert (joined.evidence.distinctness >= 0).all()


@pytest.fixture
def noisy_scene(tracker: Tracker) -> TrackedVideo:
    """Four frames of noise, moved by a random flow."""
    rng = torch.Generator().manual_seed(0)
    video = torch.randint(256, (4, 3, HEIGHT, WIDTH), generator=rng).byte()
    return TrackedVideo(tracker, shifted_maps(4), random_flow(4, 2.0, 3), video)


def test_groups_of_queries_change_nothing(
    noisy_scene: TrackedVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    queries = some_queries(4, 7)
    whole = track_by_joining(noisy_scene, queries, CONFIG)
    monkeypatch.setattr(chunks, "JOINED_QUERIES", 2)
    parts = track_by_joining(noisy_scene, queries, CONFIG, lambda *report: told.append(report))
    assert_alike(whole, parts)
    done = [done for _, done, _ in told]
    assert {(stage, total) for stage, _, total in told} == {("track", 28)}
    assert done == sorted(set(done))
    assert {0, 8, 16, 24, 28} <= set(done)


def test_progress_moves_within_a_group(noisy_scene: TrackedVideo) -> None:
    """What the parts count adds up to what they did, but for less than a frame."""
    told: list[tuple[str, int, int]] = []
    track_by_joining(noisy_scene, some_queries(4, 50), CONFIG, lambda *call: told.append(call))
    done = [done for _, done, _ in told]
    assert done[0] == 0
    assert len(done) > 20
    assert max(after - before for before, after in itertools.pairwise(done)) <= 50
    assert done[-2:] == [199, 200]


def test_too_short_memory_halves_the_work(
    noisy_scene: TrackedVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = some_queries(4, 7)
    whole = track_by_joining(noisy_scene, queries, CONFIG)

    def short(scene: TrackedVideo, some: Any, config: Any, meter: Any) -> Any:
        if len(some) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return join(scene, some, config, meter)

    monkeypatch.setattr(joining, "join", short)
    with pytest.warns(DinotrackWarning, match="7 points at a time; going on with 4"):
        assert_alike(whole, track_by_joining(noisy_scene, queries, CONFIG))


def test_without_memory_everything_is_tracked_once(
    noisy_scene: TrackedVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    once = joining._pass

    def counted(*arguments: Any, rounds: int) -> Any:
        passes.append(rounds)
        return once(*arguments, rounds=rounds)

    monkeypatch.setattr(joining, "_pass", counted)
    queries = some_queries(4, 3)
    join(noisy_scene, queries, CONFIG)
    forgetful = dataclasses.replace(CONFIG.memory, weight=0.0)
    join(noisy_scene, queries, dataclasses.replace(CONFIG, memory=forgetful))
    assert passes == [0, CONFIG.refinding.rounds, CONFIG.refinding.rounds]


def halved(frames: int) -> TrackedVideo:
    """A scene as fits have it: maps and flow in half precision, and frames with texture."""
    maps, flow = shifted_maps(frames), random_flow(frames, 1.0, seed=2)
    half = VideoFlow(flow.forward.half(), flow.backward.half(), frozenset({5}))
    return TrackedVideo(
        peaked_tracker(), FeatureMaps(maps.values.half(), GRID), half, moving_frames(frames, [3])
    )


@pytest.mark.parametrize("hops", [0, 2])
def test_a_few_flows_from_the_query_are_precise(
    tracker: Tracker, hops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = 5
    paths = []

    def smooth_and_tell(path: Path, *others: Any) -> torch.Tensor:
        paths.append(path)
        return smooth(path, *others)

    monkeypatch.setattr("dinotrack.tracking.joining.smooth", smooth_and_tell)
    config = dataclasses.replace(CONFIG, chain=dataclasses.replace(CONFIG.chain, hops=hops))
    scene = blank_scene(tracker, shifted_maps(frames))
    join(scene, queries_at((0, 20, 30)), config)
    precise = paths[0].precise[0]  # of the query itself; others are of its support points
    assert precise.tolist() == [t <= hops for t in range(frames)]


def test_a_video_at_hand_gives_the_same_bytes() -> None:
    frames = 8
    video, queries = halved(frames), some_queries(frames)
    held = video.at_hand()
    assert held.maps.units is not None
    assert held.grey.made is not None
    for asked in (queries, queries[:1]):
        ours, theirs = (track_by_joining(each, asked, FAST.inference) for each in (held, video))
        for field in dataclasses.fields(Trajectories):
            assert torch.equal(getattr(ours, field.name), getattr(theirs, field.name))


def test_what_would_take_too_much_memory_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    video = halved(3)
    monkeypatch.setattr(chunks, "HELD_BYTES", 1000)
    assert video.at_hand() is video
    values = 2 * video.maps.values.numel() + video.flow.numel()
    monkeypatch.setattr(chunks, "HELD_BYTES", 4 * values)
    assert video.at_hand() is not video
    half = video.flow.forward[:1, :, ::2, ::2]
    leaping = dataclasses.replace(video.flow, leaps=(Leaps(2, half, -half),))
    larger = dataclasses.replace(video, flow=leaping)
    assert larger.at_hand() is larger
