"""Blank frames are left out and bridged; shots are told apart. Clips have exact truth."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import dinotrack
from dinotrack import DinotrackWarning
from dinotrack.chains import flow_chains
from dinotrack.config import FAST, ShotConfig
from dinotrack.flow import FlowEstimator, VideoFlow
from dinotrack.flow_methods import FLOWS
from dinotrack.foreground import motion_foreground
from dinotrack.media.frames import Frames
from dinotrack.queries import Queries, Trajectories
from dinotrack.run import Run
from dinotrack.shots import Timeline, find_blank, find_cuts, frames_named
from dinotrack.synthesis import Clip, generate
from dinotrack.tracking.candidates import Candidates
from dinotrack.tracking.evidence import disagreement, in_other_shots, neighbours
from dinotrack.tracking.path import best_path
from tests.moving import CONFIG, random_flow, some_queries
from tests.same import same

CPU = torch.device("cpu")
RUN = Run(FAST, CPU)
QUICK = {"training.steps": 4, "focus.share": 0.0}


def working(frames: Frames) -> Tensor:
    """Frames as the stages see them: a view of channels-last memory."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def moving(seed: int, frames: int = 8) -> Frames:
    return generate((96, 128), frames, 1, seed=seed, noise=1.0).frames


def dis_flow(frames: Tensor) -> VideoFlow:
    size = int(frames.shape[-2]), int(frames.shape[-1])
    return FlowEstimator(frames, size, FLOWS["dis"](FAST.flow, CPU), "dis").neighbours()


def cuts_of(frames: Frames) -> list[int]:
    tensor = working(frames)
    return sorted(find_cuts(tensor, dis_flow(tensor), ShotConfig()))


# --- blank frames ---------------------------------------------------------------------------------


def flat(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """A picture that shows nothing."""
    colours = {"black": 0, "white": 255, "grey": 90, "blue": (10, 40, 200)}
    if kind in colours:
        return np.broadcast_to(np.uint8(colours[kind]), shape)
    noise = np.random.default_rng(0).normal(16, 2.0, shape)
    return np.asarray(noise.round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("kind", ["black", "white", "grey", "blue", "black with noise"])
@pytest.mark.parametrize("which", [(3,), (0,), (7,), (0, 1, 4, 7)], ids=str)
def test_frames_of_one_colour_are_blank(kind: str, which: tuple[int, ...]) -> None:
    frames = moving(0).copy()
    frames[list(which)] = flat(frames[0].shape, kind)
    with pytest.warns(DinotrackWarning, match="blank; points are not visible there") as told:
        assert find_blank(working(frames), RUN) == Timeline(8, which)
    assert str(told[0].message).startswith(frames_named(which))


@pytest.mark.parametrize("change", ["nothing", "faded", "dim", "dark", "foggy", "letterbox"])
def test_faint_frames_are_not_blank(change: str) -> None:
    """Where one frame is faint it still shows something; where all are, the video is so."""
    frames = moving(1).copy()
    if change == "faded":
        frames[4:] = (frames[4:] * np.linspace(0.6, 0.1, 4)[:, None, None, None]).astype(np.uint8)
    elif change == "dim":
        frames //= 64
    elif change == "dark":
        frames >>= 4
    elif change == "foggy":
        frames[3] = 200 + frames[3] // 16
    elif change == "letterbox":
        frames[:, :30] = frames[:, -30:] = 0
    assert find_blank(working(frames), RUN) == Timeline(8)


@pytest.mark.parametrize("count", [1, 3])
def test_a_video_of_blank_frames_alone(count: int) -> None:
    frames = working(np.zeros((count, 32, 48, 3), np.uint8))
    with pytest.warns(DinotrackWarning, match="every frame of the video is blank"):
        timeline = find_blank(frames, RUN)
    assert timeline.all_blank
    assert timeline.shown == list(range(count))
    seen = torch.ones(2, count, dtype=torch.bool)
    found = timeline.tracks(Trajectories(torch.rand(2, count, 2), seen, seen.float()))
    assert not found.visible.any()
    assert not found.confidence.any()


@pytest.mark.parametrize(("which", "again"), [((7,), False), ((6, 7), False), ((2, 7), True)])
def test_nothing_is_found_again_after_the_end(which: tuple[int, ...], again: bool) -> None:
    frames = moving(0).copy()
    frames[list(which)] = 0
    with pytest.warns(DinotrackWarning) as told:
        find_blank(working(frames), RUN)
    assert ("found again after" in str(told[0].message)) == again


def test_a_video_without_blank_frames_is_taken_as_it_is() -> None:
    timeline, frames = Timeline(3), working(moving(0, 3))
    queries = Queries(torch.tensor([0, 2]), torch.rand(2, 2))
    seen = torch.ones(2, 3, dtype=torch.bool)
    found = Trajectories(torch.rand(2, 3, 2), seen, seen.float())
    assert timeline.choose(frames) is frames
    assert timeline.queries(queries) is queries
    assert timeline.tracks(found) is found
    assert timeline.known_to(RUN) is RUN


def test_points_lie_between_where_they_are_before_and_after() -> None:
    """Frames 0, 3, 4 and 7 are blank: the first one takes over what comes, the last what was."""
    timeline = Timeline(8, (0, 3, 4, 7))
    xy = torch.tensor([[[1.0, 0.0], [2.0, 10.0], [8.0, 40.0], [9.0, 41.0]]])
    seen = torch.tensor([[True, True, False, True]])
    found = timeline.tracks(Trajectories(xy, seen, torch.tensor([[0.9, 0.8, 0.2, 0.7]])))
    x = [1, 1, 2, 4, 6, 8, 9, 9]
    y = [0, 0, 10, 20, 30, 40, 41, 41]
    torch.testing.assert_close(found.xy[0], torch.tensor([x, y]).T.float())
    assert found.visible[0].tolist() == [False, True, True, False, False, False, True, False]
    expected = torch.tensor([0, 0.9, 0.8, 0, 0, 0.2, 0.7, 0])
    assert torch.equal(found.confidence[0], expected)


def test_points_of_blank_frames_are_asked_of_the_next_one_that_shows_something() -> None:
    timeline = Timeline(6, (0, 3, 5))
    queries = Queries(torch.arange(6), torch.rand(6, 2))
    with pytest.warns(DinotrackWarning, match="frames 0, 3 and 5 are blank; points asked"):
        moved = timeline.queries(queries)
    assert moved.frame.tolist() == [0, 0, 1, 2, 2, 2]  # of frames 1, 2 and 4
    assert torch.equal(moved.xy, queries.xy)
    assert timeline.queries(queries[1:3]).frame.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([3], "frame 3"),
        ([3, 4], "frames 3 to 4"),
        ([0, 2], "frames 0 and 2"),
        ([0, 1, 2, 5, 7, 8], "frames 0 to 2, 5 and 7 to 8"),
    ],
)
def test_frames_are_named(numbers: list[int], words: str) -> None:
    assert frames_named(numbers) == words


def test_what_is_kept_of_other_frames_is_not_taken() -> None:
    """The cache is asked for the flow of the frames that are looked at, under a name of its own."""
    run = replace(RUN, cache=replace(RUN.cache, video="abc"))
    names = {Timeline(4, blank).known_to(run).cache.video for blank in ((), (1,), (2,), (1, 2))}
    assert len(names) == 4
    assert "abc" in names


def shares_after(clip: Clip, frames: Frames, blank: int) -> float:
    """How many points are within 4 px after a frame, of those asked for before it."""
    queries = clip.queries[:, 0] < blank
    tracks = dinotrack.track(
        frames, clip.queries[queries], preset="fast", device="cpu", settings=QUICK
    )
    error = np.linalg.norm(tracks.xy - clip.tracks[queries], axis=-1)[:, blank + 1 :]
    return float((error[clip.visible[queries][:, blank + 1 :]] < 4).mean())


def test_one_black_frame_costs_next_to_nothing() -> None:
    """Flow into a flat frame agrees with itself, so without bridging 10 points of 100 are lost."""
    clip = generate((96, 128), 12, 1, seed=4, points=40, difficulty=2.0, noise=1.0)
    blackened = clip.frames.copy()
    blackened[5] = 0
    with pytest.warns(DinotrackWarning, match="frame 5 is blank"):
        bridged = shares_after(clip, blackened, 5)
    assert bridged > shares_after(clip, clip.frames, 5) - 0.05


def test_tracks_do_not_depend_on_what_a_blank_frame_looks_like() -> None:
    clip = generate((64, 96), 6, 1, seed=4, points=8)
    small = QUICK | {"model.widths": "8,16", "model.dims": 16, "model.blocks": 1}
    found = []
    for level in (0, 255):
        frames = clip.frames.copy()
        frames[2] = level
        masks = np.zeros(frames.shape[:3], bool)
        masks[:, 20:40, 20:40] = True
        masks[2] = level > 0
        with pytest.warns(DinotrackWarning, match="frame 2 is blank"):
            fitted = dinotrack.fit(
                frames, preset="fast", device="cpu", settings=small, foreground=masks
            )
        found.append(fitted.track(clip.queries[clip.queries[:, 0] != 2]))
    assert same(*found)
    assert found[0].xy.shape[1] == 6
    assert not found[0].visible[:, 2].any()
    assert not found[0].confidence[:, 2].any()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_reported_black_frame(shared_data: Path, seed: int) -> None:
    """Untouched, the clip reaches 0.92 (seeds 0 to 2: 0.922, 0.913, 0.911); once it was 0.81."""
    cases = shared_data / "cases"
    with np.load(cases / "black_frame_12_truth.npz") as truth:
        queries, xy, visible = truth["query"], truth["tracks"], truth["visible"].astype(bool)
    with pytest.warns(DinotrackWarning, match="frame 12 is blank"):
        tracks = dinotrack.track(
            cases / "black_frame_12.mp4", queries, preset="fast", device="cpu", seed=seed
        )
    error = np.linalg.norm(tracks.xy - xy, axis=-1)
    later = np.arange(xy.shape[1]) > queries[:, :1]
    later[:, 12] = False
    assert (error[later & visible] < 4).mean() > 0.89
    asked = queries[:, 0] == 12
    assert not tracks.visible[~asked, 12].any()


# --- cuts -----------------------------------------------------------------------------------------


def there_and_back() -> tuple[Frames, Clip, np.ndarray]:
    """Eight frames of a clip, five of another, and seven of the first again; the clip, and which of
    its frames are shown (-1: none)."""
    clip = generate((96, 128), 18, 1, seed=2, points=40, noise=1.0)
    shown = np.array([*range(8), *[-1] * 5, *range(11, 18)])
    frames = clip.frames[shown]
    frames[8:13] = generate((96, 128), 5, 1, seed=40, noise=1.0).frames
    return frames, clip, shown


def test_cuts_are_found_where_they_are() -> None:
    frames, _, _ = there_and_back()
    assert cuts_of(frames) == [8, 13]
    barred = frames.copy()
    barred[:, :24] = barred[:, -24:] = 16  # half of the picture never changes
    assert cuts_of(barred) == [8, 13]


def panned(picture: np.ndarray, shift: int) -> Frames:
    """A camera that is swung over a wide picture, by so many px a frame."""
    starts = range(0, picture.shape[1] - 128, shift)
    return np.stack([cv2.blur(picture, (shift // 2, 1))[:96, x : x + 128] for x in starts])


def test_what_is_no_cut() -> None:
    frames = moving(3, 10)
    flash = frames.copy()
    flash[4:6] = (frames[4:6] * 3.0 + 60).clip(0, 255)
    strobe = frames.copy()
    strobe[::2] = frames[::2] // 4
    fade = frames * np.linspace(1, 0.1, 10)[:, None, None, None]
    lit = frames.copy()
    lit[5:] = frames[5:] // 2 + 100
    noisy = frames.copy()
    noisy[4] = np.random.default_rng(0).integers(0, 256, frames[4].shape)
    wide = generate((96, 1200), 1, 3, seed=5).frames[0]
    changes = (frames, flash, strobe, fade.astype(np.uint8), lit, noisy, panned(wide, 70))
    assert [cuts_of(changed) for changed in changes] == [[]] * 7


def test_a_point_is_found_again_after_a_cut_back_and_is_hidden_in_between() -> None:
    frames, clip, shown = there_and_back()
    asked = clip.queries[:, 0] < 8
    with pytest.warns(DinotrackWarning, match="new shots begin at frames 8 and 13; points"):
        tracks = dinotrack.track(
            frames, clip.queries[asked], preset="fast", device="cpu", settings=QUICK
        )
    truth, seen = clip.tracks[asked][:, shown], clip.visible[asked][:, shown]
    right = np.linalg.norm(tracks.xy - truth, axis=-1) < 4
    back = np.arange(len(shown)) >= 13
    assert right[seen & back].mean() > 0.8
    assert tracks.visible[seen & back].mean() > 0.7
    assert tracks.visible[:, 8:13].mean() < 0.1


# --- what a cut does: each shot is as if it were alone --------------------------------------------


def cut_in_two(frames: int, cut: int) -> tuple[VideoFlow, list[VideoFlow]]:
    """Flow that is cut, and that of the two shots alone."""
    whole = random_flow(frames, 0.6, seed=1)
    parts = slice(0, cut - 1), slice(cut, frames - 1)
    shots = [VideoFlow(whole.forward[part], whole.backward[part]) for part in parts]
    return replace(whole, cuts=frozenset({cut})), shots


def test_no_step_across_a_cut_is_believed() -> None:
    flow, _ = cut_in_two(5, 2)
    xy = some_queries(5).xy
    for t, u in ((1, 2), (2, 1)):
        assert torch.isinf(flow.step(xy, t, u).error).all()
        assert not flow.step(xy, t, u).holds(1e9, flow.size).any()
    assert torch.isfinite(flow.step(xy, 2, 3).error).all()
    assert flow.to(CPU).cuts == flow.cuts


def test_chains_of_each_shot_are_those_of_the_shot_alone() -> None:
    flow, shots = cut_in_two(7, 4)
    config = FAST.trajectories
    found = flow_chains(flow, config)
    alone = [flow_chains(shot, config) for shot in shots]
    assert torch.equal(found.start, torch.cat((alone[0].start, alone[1].start + 4)))
    assert torch.equal(found.length, torch.cat([chains.length for chains in alone]))
    assert torch.equal(found.xy, torch.cat([chains.xy for chains in alone]))


def test_the_foreground_of_each_shot_ends_with_it() -> None:
    flow, _ = cut_in_two(7, 4)
    wild = replace(flow, forward=flow.forward.clone())
    wild.forward[3] = 50.0 * torch.randn(wild.forward[3].shape)
    masks = motion_foreground(wild, FAST.foreground)
    assert torch.equal(masks, motion_foreground(flow, FAST.foreground))
    assert torch.equal(masks[3], masks[2])
    every = replace(flow, cuts=frozenset(range(1, 7)))
    assert not motion_foreground(every, FAST.foreground).any()


def test_evidence_of_each_shot_is_that_of_the_shot_alone() -> None:
    flow, shots = cut_in_two(7, 4)
    xy = 40 * torch.rand((3, 7, 2))
    cosine = torch.rand(3, 7)
    parts = xy[:, :4], xy[:, 4:]
    alone = [disagreement(shot, part) for shot, part in zip(shots, parts, strict=True)]
    torch.testing.assert_close(disagreement(flow, xy), torch.cat(alone, dim=1))
    beside = torch.cat((neighbours(cosine[:, :4]), neighbours(cosine[:, 4:])), dim=1)
    assert torch.equal(neighbours(cosine, flow.cuts), beside)
    single = replace(flow, cuts=frozenset({3, 4}))
    assert not disagreement(single, xy)[:, 3].any()


def test_a_path_goes_on_anywhere_after_a_cut() -> None:
    """Each shot's path is the best one of its own, wherever flow leads between them."""
    flow, shots = cut_in_two(7, 4)
    rng = torch.Generator().manual_seed(2)
    places = 40 * torch.rand((5, 7, 3, 2), generator=rng)
    candidates = Candidates(places, torch.rand((5, 7, 3), generator=rng))
    own = torch.tensor([0, 1, 2, 3, 3])
    given = own[:, None] == torch.arange(7)
    found = best_path(candidates, given, flow, CONFIG.path)
    before = Candidates(places[:, :4], candidates.cosine[:, :4])
    assert torch.equal(found[:, :4], best_path(before, given[:, :4], shots[0], CONFIG.path))
    after = Candidates(places[:, 4:], candidates.cosine[:, 4:])
    # a query that lies in none of the frames leaves all candidates open
    assert not given[:, 4:].any()
    assert torch.equal(found[:, 4:], best_path(after, given[:, 4:], shots[1], CONFIG.path))


def test_in_another_shot_a_point_must_be_surely_seen() -> None:
    confidence = torch.tensor([[0.5, 0.3, 0.7, 0.5, 0.85, 0.5], [0.5, 0.3, 0.7, 0.5, 0.6, 0.5]])
    own = torch.tensor([0, 2])
    cuts = frozenset({2, 4})
    found = in_other_shots(confidence, own, cuts, sure=0.8, visible=0.4)
    kept = torch.tensor([[1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0]]).bool()
    assert torch.equal(found[kept], confidence[kept])
    assert (found[~kept] < 0.4).all()
    assert (found[~kept] > 0).all()
    assert in_other_shots(confidence, own, frozenset(), 0.8, 0.4) is confidence
    edge = in_other_shots(torch.tensor([[0.9, 0.7999]]), own[:1], frozenset({1}), 0.8, 0.4)
    assert float(edge[0, 1]) == pytest.approx(0.4, abs=1e-3)
