"""Matching and anchor visibility against the reference's numbers, against plain loops, and on
motions known exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dinotrack import inference
from dinotrack.config import FAST, PAPER, InferenceConfig
from dinotrack.geometry import Grid, patch_grid
from dinotrack.model import Tracker, soft_argmax

GRID = patch_grid(98, 126, 14, 7, exact=False)


def agree(a, b, tolerance=1e-4):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def make_tracker(whole_map=True):
    """A tracker whose refiner has positive weights, as trained ones have: no slice's sum is near
    zero."""
    torch.manual_seed(0)
    tracker = Tracker(replace(PAPER.model, widths=(4, 4), whole_map=whole_map), 8).eval()
    for parameter in tracker.refiner.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1.0)
    return tracker


def identity_tracker(dims, whole_map):
    """A tracker whose refiner leaves the correlation as it is, up to a large factor."""
    tracker = Tracker(
        replace(FAST.model, temperature=0.001, radius=14.0, whole_map=whole_map), dims
    ).eval()
    for parameter in tracker.refiner.parameters():
        torch.nn.init.zeros_(parameter)
        if parameter.ndim == 4:
            torch.nn.init.ones_(parameter[:, :, 1, 1])
    return tracker


def random_maps(frames, dims=8, grid=GRID, seed=0):
    """Random features that resemble one another a little less from frame to frame."""
    random = torch.Generator().manual_seed(seed)
    base = torch.randn(dims, grid.rows, grid.cols, generator=random)
    noise = torch.randn(frames, dims, grid.rows, grid.cols, generator=random)
    return base + noise * torch.linspace(0.1, 1.5, frames)[:, None, None, None]


def random_queries(count, frames, seed=0):
    random = torch.Generator().manual_seed(seed)
    t = torch.randint(0, frames, (count,), generator=random)
    xy = torch.rand(count, 2, generator=random) * torch.tensor([125.0, 97.0])
    return torch.cat((t[:, None].float(), xy), dim=1)


@pytest.fixture(params=[True, False], ids=["whole-map", "disc"])
def whole_map(request):
    return request.param


@pytest.fixture
def reference(golden, whole_map):
    g = golden("inference")
    tracker = Tracker(
        replace(PAPER.model, whole_map=whole_map), g["refined_features"].shape[1]
    ).eval()
    tracker.refiner.load_state_dict(
        {
            k.removeprefix("state_dict/"): torch.from_numpy(v)
            for k, v in g.items()
            if k.startswith("state_dict/")
        }
    )
    x, y, t = torch.from_numpy(g["query_xyt"]).unbind(1)
    return tracker, torch.from_numpy(g["refined_features"]), torch.stack((t, x, y), dim=1), g


def test_inference_agrees_with_the_reference(reference):
    tracker, maps, queries, g = reference
    xy, visible, _ = inference.track_by_matching(tracker, maps, GRID, queries, PAPER.inference)
    agree(xy, g["trajectories"][..., :2])
    assert np.array_equal(visible, ~g["occluded"])


def test_cosines_and_anchors_agree_with_the_reference(reference):
    tracker, maps, queries, g = reference
    xy = torch.from_numpy(g["trajectories"][..., :2])
    vectors = inference.embed_tracks(maps, GRID, xy)
    query_frames = queries[:, 0].long()
    cosine = inference.track_cosines(vectors, query_frames)
    agree(cosine, g["cosine_similarities"])
    anchors = inference.anchor_frames(cosine, query_frames, float(g["anchor_threshold"]))
    found = inference.track_to_anchors(tracker, maps, GRID, vectors, anchors)
    for n in range(len(queries)):
        agree(found[n, anchors[n]], g[f"anchor_trajectories/{n}"])
        assert found[n, ~anchors[n]].isnan().all()


@pytest.mark.parametrize("case", range(4))
def test_the_visibility_rule_agrees_with_the_reference(golden, case):
    g = {
        k.removeprefix(f"{case}/"): v
        for k, v in golden("visibility").items()
        if k.startswith(f"{case}/")
    }
    frames = len(g["cosine"])
    anchors = torch.zeros(1, frames, dtype=torch.bool)
    anchors[0, g["anchors"]] = True
    cosine = torch.from_numpy(g["cosine"])[None]
    assert torch.equal(
        anchors, inference.anchor_frames(cosine, torch.tensor([g["anchors"][0]]), 0.7)
    )
    anchor_xy = torch.full((1, frames, frames, 2), torch.nan)
    anchor_xy[0, g["anchors"]] = torch.from_numpy(g["anchor_trajectories"])
    strayed = inference.deviation(torch.from_numpy(g["trajectory"])[None], anchor_xy)
    visible, confidence = inference.visibility(cosine, strayed, anchors, 0.6)
    assert np.array_equal(visible[0], ~g["occluded"])
    assert torch.equal(visible, confidence >= 0.5)


def plain_locate(tracker, vector, features, grid):
    correlation = F.cosine_similarity(vector[:, None, None], features, dim=0)[None]
    return soft_argmax(
        correlation.relu(), tracker.heatmaps(correlation).exp(), grid, tracker.config.radius
    )[0]


def plain_track(tracker, maps, grid, query, config):
    """One query, one frame, one anchor at a time."""
    frames, q = len(maps), int(query[0])

    def feature(t, xy):
        return grid.sample(maps[t][None], xy[None, None])[0, 0]

    xy = [plain_locate(tracker, feature(q, query[1:]), maps[t], grid) for t in range(frames)]
    cosine = [
        F.cosine_similarity(feature(t, xy[t]), feature(q, xy[q]), dim=0) for t in range(frames)
    ]
    anchors = [t for t in range(frames) if cosine[t] >= config.anchor_cosine or t == q]
    medians = []
    for t in range(frames):
        errors = [
            (plain_locate(tracker, feature(t, xy[t]), maps[a], grid) - xy[a]).norm()
            for a in anchors
        ]
        medians.append(sorted(errors)[(len(errors) - 1) // 2])
    threshold = max(medians[a] for a in anchors)
    visible = [
        bool(medians[t] <= threshold and cosine[t] >= config.visible_cosine) for t in range(frames)
    ]
    return torch.stack(xy), torch.tensor(visible)


@torch.no_grad()
def test_tracking_agrees_with_one_point_at_a_time(monkeypatch, whole_map):
    monkeypatch.setattr(inference, "MAX_ACTIVATIONS", 10_000)  # a few maps at a time
    monkeypatch.setattr(inference, "QUERIES_AT_ONCE", 4)
    tracker, maps, queries = make_tracker(whole_map), random_maps(6), random_queries(9, 6)
    config = InferenceConfig(anchor_cosine=0.8, visible_cosine=0.7)
    xy, visible, confidence = inference.track_by_matching(tracker, maps, GRID, queries, config)
    plain = [plain_track(tracker, maps, GRID, query, config) for query in queries]
    torch.testing.assert_close(xy, torch.stack([p[0] for p in plain]), atol=1e-3, rtol=0)
    assert torch.equal(visible, torch.stack([p[1] for p in plain]))
    assert 0 < visible.float().mean() < 1
    assert torch.equal(visible, confidence >= 0.5)
    assert confidence.min() >= 0
    assert confidence.max() <= 1


def shifted_field(shifts, grid, dims=48, seed=0):
    """Frames of one random field of features, each shifted by whole cells (columns, rows)."""
    margin = max(abs(v) for shift in shifts for v in shift)
    random = torch.Generator().manual_seed(seed)
    field = torch.randn(dims, grid.rows + 2 * margin, grid.cols + 2 * margin, generator=random)
    views = [
        field[:, margin - y : margin - y + grid.rows, margin - x : margin - x + grid.cols]
        for x, y in shifts
    ]
    return torch.stack(views)


def test_an_exact_motion_is_found_and_an_occlusion_noticed(whole_map):
    grid, shifts = Grid(16, 20, 4.0, 1.5), [(0, 0), (1, 0), (2, -1), (3, -2), (1, 2)]
    maps = shifted_field(shifts, grid)
    maps[3] = torch.randn(
        maps[3].shape, generator=torch.Generator().manual_seed(9)
    )  # something stands before it
    cells = torch.tensor([[5.0, 6.0], [9.0, 8.0], [12.0, 7.0]])
    t = torch.tensor([0, 2, 4])
    moved = torch.tensor(shifts, dtype=torch.float32)
    queries = torch.cat((t[:, None].float(), grid.to_pixels(cells + moved[t])), dim=1)
    tracker = identity_tracker(48, whole_map)
    xy, visible, confidence = inference.track_by_matching(
        tracker, maps, grid, queries, InferenceConfig()
    )
    seen = torch.tensor([True, True, True, False, True])
    torch.testing.assert_close(
        xy[:, seen], grid.to_pixels(cells[:, None] + moved)[:, seen], atol=1e-2, rtol=0
    )
    assert torch.equal(visible, seen.expand(3, -1))
    assert (confidence[:, ~seen] < 0.5).all()


def test_matching_some_frames_is_matching_all_of_them():
    tracker, maps, queries = make_tracker(), random_maps(5), random_queries(7, 5)
    vectors = inference.embed(maps, GRID, queries)
    every = inference.match(tracker, maps, GRID, vectors, torch.arange(5))
    some = inference.match(tracker, maps, GRID, vectors, torch.tensor([3, 0, 3]))
    torch.testing.assert_close(some, every[:, [3, 0, 3]])
    assert inference.match(tracker, maps, GRID, vectors, torch.arange(0)).shape == (7, 0, 2)


def test_embedding_samples_each_query_in_its_own_frame():
    maps, queries = random_maps(4), random_queries(11, 4)
    expected = torch.cat(
        [GRID.sample(maps[int(t)][None], torch.stack((x, y))[None, None])[0] for t, x, y in queries]
    )
    torch.testing.assert_close(inference.embed(maps, GRID, queries), expected)
    half = inference.embed(maps.half(), GRID, queries)  # features are rounded, positions are not
    torch.testing.assert_close(half, expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
def test_spread_anchors(count):
    random = torch.Generator().manual_seed(count)
    anchors = torch.rand(50, 30, generator=random) < torch.rand(50, 1, generator=random)
    own = torch.randint(0, 30, (50,), generator=random)
    anchors[torch.arange(50), own] = True
    kept = inference.spread(anchors, own, count)
    assert not (kept & ~anchors).any()
    assert kept[torch.arange(50), own].all()
    assert torch.equal(kept.sum(1), anchors.sum(1).clamp(max=count))
    for row, some in zip(anchors, kept, strict=True):
        rank = some[row].nonzero()[:, 0]
        gaps = torch.cat((rank, rank[:1] + int(row.sum()))).diff()
        assert gaps.max() - gaps.min() <= 1
    assert torch.equal(inference.spread(anchors, own, 0), anchors)


def test_few_anchors_decide_much_alike():
    tracker, maps, queries = make_tracker(), random_maps(8), random_queries(12, 8)
    every = inference.track_by_matching(tracker, maps, GRID, queries, InferenceConfig())
    few = inference.track_by_matching(tracker, maps, GRID, queries, InferenceConfig(max_anchors=3))
    assert torch.equal(few[0], every[0])
    assert (few[1] == every[1]).float().mean() > 0.8


def test_confidence_grows_with_agreement_and_with_similarity():
    anchors = torch.tensor([[True, True, False, False]])
    cosine = torch.tensor([[1.0, 0.9, 0.65, 0.6]])
    strayed = torch.tensor([[0.5, 2.0, 1.0, 1.0]])
    visible, base = inference.visibility(cosine, strayed, anchors, 0.6)
    assert visible.all()
    assert base[0, 1].item() == pytest.approx(
        0.5
    )  # the frame that sets the threshold is on the border
    assert base[0, 3].item() == pytest.approx(0.5)
    _, stray = inference.visibility(cosine, strayed + torch.tensor([0.5, 0, 1.5, 0]), anchors, 0.6)
    _, unlike = inference.visibility(
        cosine - torch.tensor([0.0, 0, 0.1, 0.1]), strayed, anchors, 0.6
    )
    assert (stray[0, [0, 2]] < base[0, [0, 2]]).all()
    assert (unlike[0, 2:] < 0.5).all()


@pytest.mark.parametrize("frames", [1, 2])
def test_nothing_to_go_by_still_gives_finite_tracks(frames, whole_map):
    tracker, maps = make_tracker(whole_map), torch.zeros(frames, 8, GRID.rows, GRID.cols)
    queries = torch.tensor([[0.0, 0.0, 0.0], [frames - 1.0, 125.0, 97.0]])
    for features in (maps, random_maps(frames)):
        xy, _, confidence = inference.track_by_matching(
            tracker, features, GRID, queries, InferenceConfig()
        )
        assert xy.shape == (2, frames, 2)
        assert xy.isfinite().all()
        assert confidence.isfinite().all()


def test_no_query_gives_no_track():
    xy, visible, confidence = inference.track_by_matching(
        make_tracker(), random_maps(3), GRID, torch.zeros(0, 3), InferenceConfig()
    )
    assert (xy.shape, visible.shape, confidence.shape) == ((0, 3, 2), (0, 3), (0, 3))


@pytest.mark.parametrize("dims", [6, None], ids=["vit", "cnn"])
def test_refining_a_video_is_refining_its_frames(dims):
    tracker = Tracker(replace(PAPER.model, widths=(4, 8), dims=5), dims)
    torch.nn.init.normal_(tracker.delta_dino.layers[-2].weight)
    frames = torch.randint(0, 256, (6, 3, 40, 52), dtype=torch.uint8)
    backbone_grid = None if dims is None else patch_grid(40, 52, 14, 7)
    grid = tracker.grid((40, 52), backbone_grid)
    features = None if dims is None else torch.randn(6, dims, grid.rows, grid.cols)
    tracker.train()
    calls = []
    maps = inference.refine_video(
        tracker, frames, features, grid, progress=lambda *call: calls.append(call)
    )
    assert tracker.training
    assert calls == [("refine", 4, 6), ("refine", 6, 6)]
    tracker.eval()
    for t in range(6):
        raw = None if features is None else features[t : t + 1]
        with torch.no_grad():
            expected = tracker.refine(frames[t : t + 1] / 255, raw, grid)[0]
        torch.testing.assert_close(maps[t], expected, atol=1e-5, rtol=1e-5)
    half = inference.refine_video(tracker, frames, features, grid, dtype=torch.float16)
    assert half.dtype == torch.float16
    assert not tracker.training


def test_progress_ends_each_stage():
    calls = []
    inference.track_by_matching(
        make_tracker(),
        random_maps(3),
        GRID,
        random_queries(20, 3),
        InferenceConfig(),
        lambda *call: calls.append(call),
    )
    assert calls == [
        ("match", 1, 3),
        ("match", 2, 3),
        ("match", 3, 3),
        ("visibility", 16, 20),
        ("visibility", 20, 20),
    ]


def test_the_querys_own_frame_is_always_an_anchor():
    cosine = torch.tensor(
        [[0.0, 0.0, 0.0], [0.9, 0.2, 0.7]]
    )  # without any feature the cosine is 0 even with oneself
    anchors = inference.anchor_frames(cosine, torch.tensor([1, 1]), 0.7)
    assert anchors.tolist() == [[False, True, False], [True, True, True]]
