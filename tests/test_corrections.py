"""Tracks that a hand corrected: they pass through every correction, and are followed from both
sides of each."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as some

import dinotrack
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.fitted import Fitted
from dinotrack.points import corrected_alone
from dinotrack.queries import Corrections, Queries
from dinotrack.tracking.anchors import anchors_of, looks_of
from dinotrack.tracking.flow_chain import follow
from dinotrack.tracking.joining import TrackedVideo, join
from dinotrack.tracking.patches import Grey, make_patches
from dinotrack.tracking.support import surround
from tests.moving import (
    CONFIG,
    blank_frames,
    blank_scene,
    constant_flow,
    moving_frames,
    peaked_tracker,
    queries_at,
    shifted_maps,
    truth,
)

FRAMES = 8


def corrected(queries: Queries, *rows: tuple[int, int, float, float]) -> Queries:
    """Queries with corrections (point, t, x, y)."""
    point, frame = torch.tensor([row[:2] for row in rows]).unbind(1)
    places = torch.tensor([row[2:] for row in rows])
    return dataclasses.replace(queries, corrections=Corrections(point, frame, places))


def plain_anchors(queries: Queries, frames: int) -> list[dict[int, torch.Tensor]]:
    """Of each point: where it is given, by frame."""
    known = [{int(t): xy} for t, xy in zip(queries.frame, queries.xy, strict=True)]
    made = queries.corrections
    if made is not None:
        for point, t, xy in zip(made.point, made.frame, made.xy, strict=True):
            known[int(point)][int(t)] = xy
    return known


ROWS = some.lists(
    some.tuples(some.integers(0, 2), some.integers(0, 5), some.floats(0, 40), some.floats(0, 40)),
    min_size=1,
    max_size=8,
)


@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_anchors_are_the_nearest_ones_on_both_sides(
    rows: list[tuple[int, int, float, float]],
) -> None:
    queries = corrected(queries_at((0, 1, 2), (3, 4, 5), (5, 6, 7)), *rows)
    anchors = anchors_of(queries, 6)
    past, future = anchors.distances()
    for n, known in enumerate(plain_anchors(queries, 6)):
        assert anchors.given[n].nonzero()[:, 0].tolist() == sorted(known)
        for t in range(6):
            earlier = [s for s in known if s <= t]
            later = [s for s in known if s >= t]
            for found, row, away, places in (
                (earlier and max(earlier), anchors.before[n, t], past[n, t], earlier),
                (later and min(later), anchors.after[n, t], future[n, t], later),
            ):
                if not places:
                    assert (int(row), float(away)) == (-1, torch.inf)
                    continue
                assert int(anchors.places.frame[row]) == found
                assert torch.equal(anchors.places.xy[row], known[int(found)])
                assert int(anchors.point[row]) == n
                assert float(away) == abs(t - int(found))


def test_without_corrections_a_query_is_the_only_anchor() -> None:
    queries = queries_at((2, 10, 10))
    anchors = anchors_of(queries, 4)
    assert anchors.before.tolist() == [[-1, -1, 0, 0]]
    assert anchors.after.tolist() == [[0, 0, 0, -1]]
    assert anchors.given.tolist() == [[False, False, True, False]]


def test_chains_go_on_from_a_correction_and_meet_in_the_middle() -> None:
    """Flow ends at frame 3; behind it, the correction of frame 6 is followed both ways."""
    flow = constant_flow(FRAMES)
    flow.backward[3].mul_(-5)
    queries = queries_at((0, 20, 34))
    right = truth(queries, FRAMES)
    x, y = right[0, 6].tolist()
    given_again = corrected(queries, (0, 6, x, y))
    anchors = anchors_of(given_again, FRAMES)
    patches = make_patches(Grey(blank_frames(FRAMES)), anchors.places, CONFIG.patches)
    assert follow(flow, queries, CONFIG.chain).followed[0].tolist() == [True] * 4 + [False] * 4
    chain = follow(flow, given_again, CONFIG.chain, patches)
    assert chain.followed.all()
    torch.testing.assert_close(chain.xy, right, atol=1e-3, rtol=0)
    assert chain.anchor[0].tolist() == [0] * 4 + [1] * 4


@given(seed=some.integers(0, 99))
def test_the_nearest_followed_frame(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    chain = follow(constant_flow(7), queries_at((0, 20, 34), (3, 10, 10)), CONFIG.chain)
    followed = torch.rand((2, 7), generator=rng) < 0.3
    followed[:, int(torch.randint(7, (), generator=rng))] = True
    found = dataclasses.replace(chain, followed=followed).nearest()
    for n in range(2):
        reached = followed[n].nonzero()[:, 0].tolist()
        expected = [min(reached, key=lambda s, t=t: (abs(s - t), s)) for t in range(7)]
        assert found[n].tolist() == expected


def test_between_two_anchors_that_disagree_little_a_chain_drifts_from_one_to_the_other() -> None:
    queries = queries_at((0, 20, 34))
    right = truth(queries, 5)
    x, y = right[0, 4].tolist()
    chain = follow(constant_flow(5), corrected(queries, (0, 4, x + 1.0, y)), CONFIG.chain)
    expected = right + torch.tensor((0.25, 0.0)) * torch.arange(5)[:, None]
    torch.testing.assert_close(chain.xy, expected, atol=1e-3, rtol=0)


def test_a_track_passes_through_a_correction_however_far_from_any_evidence() -> None:
    queries = queries_at((0, 20, 34))
    far = corrected(queries, (0, 4, 60.0, 3.0))
    scene = blank_scene(peaked_tracker(), shifted_maps(FRAMES))
    joined = join(scene, far, dataclasses.replace(CONFIG, support=NO_SUPPORT))
    torch.testing.assert_close(joined.xy[0, 4], torch.tensor((60.0, 3.0)), atol=0.1, rtol=0)


NO_SUPPORT = dataclasses.replace(CONFIG.support, reach=0.0)


def test_a_correction_brings_back_what_was_lost() -> None:
    """Another picture hides the point, flow ends, and matches are of another place for good."""
    queries = queries_at((0, 20, 34))
    flow, right = constant_flow(FRAMES), truth(queries, FRAMES)
    flow.backward[3].mul_(-5)
    maps = shifted_maps(FRAMES)
    maps.values[4:] = maps.values[4:].flip(-1)  # what is seen there says the wrong thing
    scene = TrackedVideo(peaked_tracker(), maps, flow, moving_frames(FRAMES))
    x, y = right[0, 6].tolist()
    lost = (join(scene, queries, CONFIG).xy - right).norm(dim=-1)[0]
    mended = (join(scene, corrected(queries, (0, 6, x, y)), CONFIG).xy - right).norm(dim=-1)[0]
    assert lost[4:].max() > 5
    assert mended[:7].max() < 0.5  # up to the correction, behind which looks speak against flow


def test_points_around_a_query_are_corrected_with_it() -> None:
    queries = corrected(queries_at((0, 20, 34), (1, 10, 10)), (1, 3, 12.0, 13.0))
    around = surround(queries, CONFIG.support, (48, 64))
    made = around.corrections
    assert made is not None
    assert made.point.tolist() == [1, 3, 5, 7, 9]
    reach = CONFIG.support.reach
    moved = torch.tensor(((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))) * reach
    torch.testing.assert_close(made.xy, torch.tensor((12.0, 13.0)) + moved)


@given(rows=ROWS, seed=some.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_looks_lie_between_those_of_the_anchors(
    rows: list[tuple[int, int, float, float]], seed: int
) -> None:
    queries = corrected(queries_at((0, 1, 2), (3, 4, 5), (5, 6, 7)), *rows)
    anchors = anchors_of(queries, 6)
    rng = torch.Generator().manual_seed(seed)
    units = F.normalize(torch.randn((len(anchors.point), 4), generator=rng), dim=1)
    looks = looks_of(anchors, units)
    past, future = anchors.distances()
    for n in range(3):
        own = units[anchors.point == n]
        everywhere = F.normalize(own.sum(dim=0), dim=0)
        torch.testing.assert_close(looks.all[n], everywhere)
        for t in range(6):
            near = torch.zeros(4)
            a, b = float(past[n, t]), float(future[n, t])
            ahead = 0.0 if b == torch.inf else 1.0 if a == torch.inf else a / max(a + b, 1)
            if ahead < 1:
                near = near + (1 - ahead) * units[anchors.before[n, t]]
            if ahead > 0:
                near = near + ahead * units[anchors.after[n, t]]
            expected = everywhere if len(own) == 1 else F.normalize(near + everywhere, dim=0)
            torch.testing.assert_close(looks.at(t)[n], expected)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    video = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), dtype=np.uint8)
    quick = {"training.steps": 0, "backbone.name": "none"}
    return dinotrack.fit(video, preset="fast", settings=quick, device="cpu")


def test_users_correct_tracks(fitted: Fitted) -> None:
    queries = [[0, 20, 30], [2, 40, 10]]
    corrections = [[1, 4, 50.25, 12.5], [0, 0, 21, 30], [0, 5, 3, 4], [0, 5, 4, 5]]
    tracks = fitted.track(queries, corrections=corrections, hidden=[[0, 2, 3]])
    assert tracks.xy[1, 4].tolist() == [50.25, 12.5]
    assert tracks.xy[0, 0].tolist() == [21, 30]  # also where the query itself was wrong
    assert tracks.xy[0, 5].tolist() == [4, 5]  # the last word holds
    assert tracks.visible[[1, 0, 0], [4, 0, 5]].all()
    assert (tracks.confidence[[1, 0, 0], [4, 0, 5]] == 1).all()
    assert not tracks.visible[0, 2:4].any()
    assert not tracks.confidence[0, 2:4].any()
    plain = fitted.track(queries)
    assert fitted.track(queries, corrections=[], hidden=[]) == plain


def test_corrections_of_one_point_leave_the_others_alone(fitted: Fitted) -> None:
    queries = [[0, 20, 30], [2, 40, 10]]
    plain = fitted.track(queries)
    tracks = fitted.track(queries, corrections=[[0, 4, 50, 12]])
    assert not np.array_equal(tracks.xy[0], plain.xy[0])
    np.testing.assert_allclose(tracks.xy[1], plain.xy[1], atol=1e-4)
    np.testing.assert_allclose(tracks.confidence[1], plain.confidence[1], atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"corrections": [[2, 0, 1, 1]]}, r"corrections, row 0 .*point = 2.*\[0, 1\]"),
        ({"corrections": [[0.5, 0, 1, 1]]}, "corrections, row 0 .*point = 0.5"),
        ({"corrections": [[0, 9, 1, 1]]}, "t = 9"),
        ({"corrections": [[0, 1, 99, 1]]}, "x = 99"),
        ({"corrections": [[0, 1, 1]]}, r"\[M, 4\]"),
        ({"corrections": "many"}, "corrections"),
        ({"hidden": [[0, 3, 2]]}, "hidden, row 0"),
        ({"hidden": [[0, 3, 6]]}, "hidden, row 0"),
        ({"hidden": [[0, 3]]}, r"\[K, 3\]"),
    ],
)
def test_wrong_corrections_are_one_sentence(
    wrong: dict[str, object], said: str, fitted: Fitted
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        fitted.track([[0, 1, 1], [1, 2, 2]], **wrong)
    assert "\n" not in str(caught.value)


def test_corrections_of_blank_frames_are_kept_all_the_same() -> None:
    video = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), dtype=np.uint8)
    video[3] = 0
    quick = {"training.steps": 0, "backbone.name": "none"}
    with pytest.warns(DinotrackWarning, match="frame 3 is blank"):
        fitted = dinotrack.fit(video, preset="fast", settings=quick, device="cpu")
    tracks = fitted.track([[0, 20, 30]], corrections=[[0, 3, 30, 31], [0, 4, 40, 20]])
    assert tracks.xy[0, 3].tolist() == [30, 31]
    assert tracks.xy[0, 4].tolist() == [40, 20]


def test_the_corrected_points_alone_are_counted_anew() -> None:
    queries = np.float32([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]])
    corrections = np.float32([[3, 1, 20, 21], [1, 2, 22, 23], [3, 4, 24, 25]])
    hidden = np.array([[0, 1, 2], [3, 5, 6], [1, 7, 8]])
    asked, made, stretches = corrected_alone(queries, corrections, hidden)
    assert asked.tolist() == queries[[1, 3]].tolist()
    assert made[:, 0].tolist() == [1, 0, 1]
    assert made[:, 1:].tolist() == corrections[:, 1:].tolist()
    assert stretches.tolist() == [[1, 5, 6], [0, 7, 8]]
    assert corrections[0, 0] == 3
    assert hidden[1, 0] == 3, "what was given is as it was"
