"""Matching and anchor visibility against the reference's numbers, against plain loops, and on
motions known exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dinotrack import chunks
from dinotrack.config import FAST, PAPER, MatchingConfig
from dinotrack.errors import DinotrackWarning
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker, soft_argmax
from dinotrack.queries import Queries
from dinotrack.tracking import matching
from dinotrack.tracking.matching import track_by_matching
from tests.golden import Golden, agree, tensors
from tests.noise import GRID, make_tracker, random_maps, random_queries

Reference = tuple[Tracker, FeatureMaps, Queries, dict[str, np.ndarray]]
"""A tracker, maps and queries, and the reference's numbers of them."""


def identity_tracker(dims: int, whole_map: bool) -> Tracker:
    """A tracker whose refiner leaves the correlation as it is, up to a large factor."""
    tracker = Tracker(
        replace(FAST.model, temperature=0.001, radius=14.0, whole_map=whole_map), dims
    ).eval()
    for parameter in tracker.refiner.parameters():
        torch.nn.init.zeros_(parameter)
        if parameter.ndim == 4:
            torch.nn.init.ones_(parameter[:, :, 1, 1])
    return tracker


@pytest.fixture(params=[True, False], ids=["whole-map", "disc"])
def whole_map(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def reference(golden: Golden, whole_map: bool) -> Reference:
    g = golden("inference")
    tracker = Tracker(
        replace(PAPER.model, whole_map=whole_map), g["refined_features"].shape[1]
    ).eval()
    tracker.refiner.load_state_dict(tensors(g, "state_dict/"))
    x, y, t = torch.from_numpy(g["query_xyt"]).unbind(1)
    maps = FeatureMaps(torch.from_numpy(g["refined_features"]), GRID)
    return tracker, maps, Queries.from_rows(torch.stack((t, x, y), dim=1)), g


def test_matching_agrees_with_the_reference(reference: Reference) -> None:
    tracker, maps, queries, g = reference
    found = track_by_matching(tracker, maps, queries, PAPER.inference.matching)
    agree(found.xy, g["trajectories"][..., :2])
    assert np.array_equal(found.visible, ~g["occluded"])


def test_cosines_and_anchors_agree_with_the_reference(reference: Reference) -> None:
    tracker, maps, queries, g = reference
    xy = torch.from_numpy(g["trajectories"][..., :2])
    vectors = maps.along(xy)
    cosine = matching.track_cosines(vectors, queries.frame)
    agree(cosine, g["cosine_similarities"])
    anchors = matching.anchor_frames(cosine, queries.frame, float(g["anchor_threshold"]))
    found = matching.track_to_anchors(tracker, maps, vectors, anchors)
    for n in range(len(queries)):
        agree(found[n, anchors[n]], g[f"anchor_trajectories/{n}"])
        assert found[n, ~anchors[n]].isnan().all()


@pytest.mark.parametrize("case", range(4))
def test_the_visibility_rule_agrees_with_the_reference(golden: Golden, case: int) -> None:
    g = {
        k.removeprefix(f"{case}/"): v
        for k, v in golden("visibility").items()
        if k.startswith(f"{case}/")
    }
    config = MatchingConfig(anchor_cosine=0.7, visible_cosine=0.6)
    frames = len(g["cosine"])
    anchors = torch.zeros(1, frames, dtype=torch.bool)
    anchors[0, g["anchors"]] = True
    cosine = torch.from_numpy(g["cosine"])[None]
    own = torch.tensor([g["anchors"][0]])
    assert torch.equal(anchors, matching.anchor_frames(cosine, own, config.anchor_cosine))
    anchor_xy = torch.full((1, frames, frames, 2), torch.nan)
    anchor_xy[0, g["anchors"]] = torch.from_numpy(g["anchor_trajectories"])
    off = matching.deviation(torch.from_numpy(g["trajectory"])[None], anchor_xy)
    visible, confidence = matching.visibility(cosine, off, anchors, config)
    assert np.array_equal(visible[0], ~g["occluded"])
    assert torch.equal(visible, confidence >= 0.5)


def plain_locate(tracker: Tracker, vector: Tensor, features: Tensor, grid: Grid) -> Tensor:
    correlation = F.cosine_similarity(vector[:, None, None], features, dim=0)[None]
    correspondence = tracker.correspondence(correlation).exp()
    return soft_argmax(correlation.relu(), correspondence, grid, tracker.config)[0]


def plain_track(
    tracker: Tracker, maps: FeatureMaps, query: Queries, config: MatchingConfig
) -> tuple[Tensor, Tensor]:
    """One query, one frame, one anchor at a time."""
    frames, q, grid = len(maps), int(query.frame), maps.grid

    def feature(t: int, xy: Float[Tensor, "2"]) -> Float[Tensor, " C"]:
        return grid.sample(maps.values[t][None], xy[None, None])[0, 0]

    def locate(vector: Float[Tensor, " C"], t: int) -> Float[Tensor, "2"]:
        return plain_locate(tracker, vector, maps.values[t], grid)

    xy = [locate(feature(q, query.xy[0]), t) for t in range(frames)]
    cosine = [
        F.cosine_similarity(feature(t, xy[t]), feature(q, xy[q]), dim=0) for t in range(frames)
    ]
    anchors = [t for t in range(frames) if cosine[t] >= config.anchor_cosine or t == q]
    medians = []
    for t in range(frames):
        errors = [(locate(feature(t, xy[t]), a) - xy[a]).norm() for a in anchors]
        medians.append(sorted(errors)[(len(errors) - 1) // 2])
    threshold = max(medians[a] for a in anchors)
    visible = [
        bool(medians[t] <= threshold and cosine[t] >= config.visible_cosine) for t in range(frames)
    ]
    return torch.stack(xy), torch.tensor(visible)


@torch.no_grad()
def test_tracking_agrees_with_one_point_at_a_time(
    monkeypatch: pytest.MonkeyPatch, whole_map: bool
) -> None:
    monkeypatch.setattr(chunks, "MAP_VALUES", 10_000)  # a few maps at a time
    monkeypatch.setattr(chunks, "ANCHORED_QUERIES", 4)
    tracker, maps, queries = make_tracker(whole_map), random_maps(6), random_queries(9, 6)
    config = MatchingConfig(anchor_cosine=0.8, visible_cosine=0.7)
    found = track_by_matching(tracker, maps, queries, config)
    each = [queries[n : n + 1] for n in range(len(queries))]
    plain = [plain_track(tracker, maps, query, config) for query in each]
    torch.testing.assert_close(found.xy, torch.stack([p[0] for p in plain]), atol=1e-3, rtol=0)
    assert torch.equal(found.visible, torch.stack([p[1] for p in plain]))
    assert 0 < found.visible.float().mean() < 1
    assert torch.equal(found.visible, found.confidence >= 0.5)
    assert found.confidence.min() >= 0
    assert found.confidence.max() <= 1


def shifted_field(
    shifts: list[tuple[int, int]], grid: Grid, dims: int = 48, seed: int = 0
) -> Float[Tensor, "T C h w"]:
    """Frames of one random field of features, each shifted by whole cells (columns, rows)."""
    margin = max(abs(v) for shift in shifts for v in shift)
    random = torch.Generator().manual_seed(seed)
    field = torch.randn(dims, grid.rows + 2 * margin, grid.cols + 2 * margin, generator=random)
    views = [
        field[:, margin - y : margin - y + grid.rows, margin - x : margin - x + grid.cols]
        for x, y in shifts
    ]
    return torch.stack(views)


def test_an_exact_motion_is_found_and_an_occlusion_noticed(whole_map: bool) -> None:
    grid, shifts = Grid(16, 20, 4.0, 1.5), [(0, 0), (1, 0), (2, -1), (3, -2), (1, 2)]
    values = shifted_field(shifts, grid)
    # something stands before it
    values[3] = torch.randn(values[3].shape, generator=torch.Generator().manual_seed(9))
    cells = torch.tensor([[5.0, 6.0], [9.0, 8.0], [12.0, 7.0]])
    t = torch.tensor([0, 2, 4])
    moved = torch.tensor(shifts, dtype=torch.float32)
    queries = Queries(t, grid.to_pixels(cells + moved[t]))
    tracker = identity_tracker(48, whole_map)
    found = track_by_matching(tracker, FeatureMaps(values, grid), queries, MatchingConfig())
    seen = torch.tensor([True, True, True, False, True])
    expected = grid.to_pixels(cells[:, None] + moved)
    torch.testing.assert_close(found.xy[:, seen], expected[:, seen], atol=1e-2, rtol=0)
    assert torch.equal(found.visible, seen.expand(3, -1))
    assert (found.confidence[:, ~seen] < 0.5).all()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
def test_spread_anchors(count: int) -> None:
    random = torch.Generator().manual_seed(count)
    anchors = torch.rand(50, 30, generator=random) < torch.rand(50, 1, generator=random)
    own = torch.randint(0, 30, (50,), generator=random)
    anchors[torch.arange(50), own] = True
    kept = matching.spread_evenly(anchors, own, count)
    assert not (kept & ~anchors).any()
    assert kept[torch.arange(50), own].all()
    assert torch.equal(kept.sum(1), anchors.sum(1).clamp(max=count))
    for row, some in zip(anchors, kept, strict=True):
        rank = some[row].nonzero()[:, 0]
        gaps = torch.cat((rank, rank[:1] + int(row.sum()))).diff()
        assert gaps.max() - gaps.min() <= 1
    assert torch.equal(matching.spread_evenly(anchors, own, 0), anchors)


def test_few_anchors_decide_much_alike() -> None:
    tracker, maps, queries = make_tracker(), random_maps(8), random_queries(12, 8)
    every = track_by_matching(tracker, maps, queries, MatchingConfig())
    few = track_by_matching(tracker, maps, queries, MatchingConfig(max_anchors=3))
    assert torch.equal(few.xy, every.xy)
    assert (few.visible == every.visible).float().mean() > 0.8


def test_confidence_grows_with_agreement_and_with_similarity() -> None:
    config = MatchingConfig(visible_cosine=0.6)
    anchors = torch.tensor([[True, True, False, False]])
    cosine = torch.tensor([[1.0, 0.9, 0.65, 0.6]])
    off = torch.tensor([[0.5, 2.0, 1.0, 1.0]])
    visible, base = matching.visibility(cosine, off, anchors, config)
    assert visible.all()
    # the frame that sets the threshold is on the border
    assert base[0, 1].item() == pytest.approx(0.5)
    assert base[0, 3].item() == pytest.approx(0.5)
    further = off + torch.tensor([0.5, 0, 1.5, 0])
    _, apart = matching.visibility(cosine, further, anchors, config)
    less = cosine - torch.tensor([0.0, 0, 0.1, 0.1])
    _, unlike = matching.visibility(less, off, anchors, config)
    assert (apart[0, [0, 2]] < base[0, [0, 2]]).all()
    assert (unlike[0, 2:] < 0.5).all()


@pytest.mark.parametrize("frames", [1, 2])
def test_nothing_to_go_by_still_gives_finite_tracks(frames: int, whole_map: bool) -> None:
    tracker = make_tracker(whole_map)
    nothing = FeatureMaps(torch.zeros(frames, 8, GRID.rows, GRID.cols), GRID)
    queries = Queries(torch.tensor([0, frames - 1]), torch.tensor([[0.0, 0.0], [125.0, 97.0]]))
    for maps in (nothing, random_maps(frames)):
        found = track_by_matching(tracker, maps, queries, MatchingConfig())
        assert found.xy.shape == (2, frames, 2)
        assert found.xy.isfinite().all()
        assert found.confidence.isfinite().all()


def test_no_query_gives_no_track() -> None:
    nobody = Queries(torch.zeros(0, dtype=torch.long), torch.zeros(0, 2))
    found = track_by_matching(make_tracker(), random_maps(3), nobody, MatchingConfig())
    shapes = found.xy.shape, found.visible.shape, found.confidence.shape
    assert shapes == ((0, 3, 2), (0, 3), (0, 3))


def test_progress_ends_each_stage() -> None:
    calls = []
    track_by_matching(
        make_tracker(),
        random_maps(3),
        random_queries(20, 3),
        MatchingConfig(),
        lambda *call: calls.append(call),
    )
    assert calls == [
        *(("track", done, 60) for done in (0, 20, 40, 59, 60)),
        *(("visibility", done, 60) for done in (0, 16, 32, 48, 52, 56, 59, 60)),
    ]


@pytest.mark.parametrize("whole", [True, False], ids=["whole-map", "disc"])
def test_too_short_memory_halves_the_work(monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    """There is memory for the maps of 7 vectors: 7 queries, or one and its places in 6 frames."""
    tracker, maps, queries = make_tracker(whole), random_maps(6), random_queries(20, 6)
    expected = track_by_matching(tracker, maps, queries, MatchingConfig())
    compare = matching.correlation_maps

    def short(
        vectors: Float[Tensor, "N C"], features: Float[Tensor, "T C h w"]
    ) -> Float[Tensor, "N h w"]:
        if len(vectors) > 7:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compare(vectors, features)

    monkeypatch.setattr(matching, "correlation_maps", short)
    with pytest.warns(DinotrackWarning) as told:
        found = track_by_matching(tracker, maps, queries, MatchingConfig())
    torch.testing.assert_close(found.xy, expected.xy, atol=1e-4, rtol=0)
    assert torch.equal(found.visible, expected.visible)
    torch.testing.assert_close(found.confidence, expected.confidence, atol=1e-3, rtol=0)
    tried = [str(w.message).partition("too short for ")[2] for w in told]
    halved = (20, 10), (10, 5), (16, 8), (8, 4), (4, 2), (2, 1)
    assert tried == [f"{n} points at a time; going on with {half}" for n, half in halved]


def test_the_querys_own_frame_is_always_an_anchor() -> None:
    # without any feature the cosine is 0 even with oneself
    cosine = torch.tensor([[0.0, 0.0, 0.0], [0.9, 0.2, 0.7]])
    anchors = matching.anchor_frames(cosine, torch.tensor([1, 1]), 0.7)
    assert anchors.tolist() == [[False, True, False], [True, True, True]]
