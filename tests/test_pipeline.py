"""The Python API, whole: fit, track, save, load, stop and go on, on clips of a few tiny frames."""

import dataclasses
import os
import pickle
import subprocess
import sys
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dinotrack
from dinotrack import DinotrackWarning, Fitted, InputError, Tracks
from dinotrack.flow import FlowEstimator
from dinotrack.media.encoding import write_video
from dinotrack.synthesis import Clip, generate
from dinotrack.video import Video
from dinotrack.vits import TimmBackbone
from tests.same import same

ROOT = Path(__file__).resolve().parent.parent
SIZE, FRAMES, STEPS = (64, 96), 6, 3
SETTINGS = {"training.steps": STEPS, "model.widths": "8,16", "model.dims": 16, "model.blocks": 1}
VIT = {"backbone.name": "vit_tiny_patch16_224", "backbone.pretrained": False, "flow.name": "dis"}


def fit(video: Any, settings: dict[str, Any] | None = None, **options: Any) -> Fitted:
    return dinotrack.fit(
        video,
        settings=SETTINGS | (settings or {}),
        **({"preset": "fast", "device": "cpu"} | options),
    )


def sound(tracks: Tracks, count: int, frames: int) -> None:
    assert tracks.xy.shape == (count, frames, 2)
    assert tracks.visible.shape == tracks.confidence.shape == (count, frames)
    assert (tracks.xy.dtype, tracks.visible.dtype, tracks.confidence.dtype) == (
        np.float32,
        np.bool_,
        np.float32,
    )
    assert np.isfinite(tracks.xy).all()
    assert ((tracks.confidence >= 0) & (tracks.confidence <= 1)).all()
    height, width = tracks.size
    inside = ((tracks.xy >= -0.5) & (tracks.xy <= (width - 0.5, height - 0.5))).all(axis=-1)
    assert inside[tracks.visible].all(), "nothing is visible outside the picture"
    assert not tracks.confidence[~inside].any()


@pytest.fixture(scope="module")
def clip() -> Clip:
    return generate(SIZE, FRAMES, 2, seed=4, points=8)


@pytest.fixture(scope="module")
def told() -> list[tuple[str, int, int]]:
    return []


@pytest.fixture(scope="module")
def fitted(clip: Clip, told: list[tuple[str, int, int]]) -> Fitted:
    return fit(clip.frames, progress=lambda *report: told.append(report))


@pytest.fixture(scope="module")
def tracks(fitted: Fitted, clip: Clip) -> Tracks:
    return fitted.track(clip.queries)


def test_tracks_are_sound(fitted: Fitted, tracks: Tracks, clip: Clip) -> None:
    sound(tracks, len(clip.queries), FRAMES)
    assert tracks.size == SIZE
    assert tracks.fps == 24
    assert fitted.steps == fitted.steps_trained_now == STEPS
    assert all(np.isfinite(values).all() for values in fitted.record["losses"].values())
    assert {"read", "flow", "labels", "fit", "refine", "track"} <= fitted.record["seconds"].keys()


def test_a_point_is_its_query_in_its_own_frame(tracks: Tracks, clip: Clip) -> None:
    rows, own = np.arange(len(clip.queries)), clip.queries[:, 0].astype(int)
    np.testing.assert_array_equal(tracks.queries, clip.queries)
    np.testing.assert_array_equal(tracks.xy[rows, own], clip.queries[:, 1:])
    assert tracks.visible[rows, own].all()
    assert (tracks.confidence[rows, own] == 1).all()


def test_progress_ends_every_stage(
    fitted: Fitted, tracks: Tracks, told: list[tuple[str, int, int]]
) -> None:
    last = {stage: (done, total) for stage, done, total in told}
    assert {"flow", "labels", "fit", "refine", "track"} <= last.keys()
    assert all(done == total for done, total in last.values()), last
    by_stage = defaultdict(list)
    for stage, done, _ in told:
        by_stage[stage].append(done)
    assert all(done == sorted(done) for done in by_stage.values())


def test_same_seed_same_bits(fitted: Fitted, tracks: Tracks, clip: Clip) -> None:
    state = torch.random.get_rng_state()
    again, other = fit(clip.frames), fit(clip.frames, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(again.track(clip.queries), tracks)
    assert same(fitted.track(clip.queries), tracks)
    assert not same(other.track(clip.queries), tracks)


def test_random_numbers_of_another_thread_change_nothing(
    fitted: Fitted, tracks: Tracks, clip: Clip
) -> None:
    """Two fits at once would draw from torch's own generator at the same time."""
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            torch.rand(100)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        again = fit(clip.frames)
    finally:
        stop.set()
        thread.join()
    assert same(again.state.tracker, fitted.state.tracker)
    assert same(again.track(clip.queries), tracks)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, VIT], ids=["fast", "random ViT"])
def test_two_fits_at_once_are_those_alone(settings: dict[str, Any], clip: Clip) -> None:
    """Every fit has its own random numbers, in whatever order threads come to draw them."""
    clips = [clip.frames, clip.frames[::-1].copy()]
    alone = [fit(frames, settings).track(grid=3) for frames in clips]
    for _ in range(20):
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda frames: fit(frames, settings).track(grid=3), clips))
        assert same(both, alone)


def test_queries_do_not_depend_on_each_other(fitted: Fitted, tracks: Tracks, clip: Clip) -> None:
    alone = fitted.track(clip.queries[2:3])
    np.testing.assert_allclose(alone.xy[0], tracks.xy[2], atol=1e-3)


def test_saved_and_loaded(fitted: Fitted, tracks: Tracks, clip: Clip, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    with pytest.raises(InputError, match="does not say where its video lies"):
        dinotrack.load(tmp_path / "model")
    with pytest.raises(InputError, match="another video"):
        dinotrack.load(tmp_path / "model", clip.frames[:-1])
    with pytest.raises(InputError, match="not to this video"):
        fit(clip.frames[:2]).save(tmp_path / "model")
    back = dinotrack.load(tmp_path / "model", clip.frames, device="cpu")
    assert (back.steps, back.steps_trained_now) == (STEPS, 0)
    assert back.config == fitted.config
    assert same(back.track(clip.queries), tracks)


def test_what_is_known_of_a_video_is_not_computed_again(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another seed, then a loaded fit: neither looks at the frames again; another size and other
    settings do."""
    monkeypatch.setenv("DINOTRACK_CACHE", str(tmp_path / "cache"))
    calls = []
    flow_of, see = FlowEstimator.neighbours, TimmBackbone.__call__

    def counted_flow(self: Any, *rest: Any) -> Any:
        calls.append("flow")
        return flow_of(self, *rest)

    def counted_vit(self: Any, *rest: Any) -> Any:
        calls.append("vit")
        return see(self, *rest)

    monkeypatch.setattr(FlowEstimator, "neighbours", counted_flow)
    monkeypatch.setattr(TimmBackbone, "__call__", counted_vit)
    pca = VIT | {"foreground.method": "pca"}
    first = fit(clip.frames, pca)
    once = ["flow", "vit", "vit"]  # two times four of six frames
    assert calls == once, "features and foreground come from one pass of the ViT"
    fit(clip.frames, pca, seed=1).save(tmp_path / "model")
    back = dinotrack.load(tmp_path / "model", clip.frames.copy(), device="cpu")
    assert calls == once
    assert torch.equal(back.flow.forward, first.flow.forward)
    assert torch.equal(back.flow.backward, first.flow.backward)
    fit(clip.frames, VIT | {"flow.smoothness": 30.0})
    fit(clip.frames, VIT | {"backbone.layer": 2})
    assert calls[3:] == once
    fit(clip.frames, VIT | {"video.area": 4000})
    fit(clip.frames[1:], VIT)
    assert calls[6:] == 2 * once
    monkeypatch.setenv("DINOTRACK_CACHE", "off")
    anew = fit(clip.frames, pca)
    assert calls[12:] == once
    assert same(anew.track(clip.queries), first.track(clip.queries))


def test_a_kept_fit_is_used_again(clip: Clip, tracks: Tracks, tmp_path: Path) -> None:
    first = fit(clip.frames, folder=tmp_path)
    second = fit(clip.frames, {"inference.method": "match"}, folder=tmp_path)
    third = fit(clip.frames, folder=tmp_path)
    assert [f.steps_trained_now for f in (first, second, third)] == [STEPS, 0, 0]
    assert second.config.inference.method == "match"
    assert same(first.track(clip.queries), tracks)
    assert same(third.track(clip.queries), tracks)
    assert not same(second.track(clip.queries), tracks)
    with pytest.raises(InputError, match=r"training\.batch: 512 / 64"):
        fit(clip.frames, {"training.batch": 64}, folder=tmp_path)
    with pytest.raises(InputError, match="seed"):
        fit(clip.frames, seed=7, folder=tmp_path)
    with pytest.raises(InputError, match="not to this video"):
        fit(clip.frames[::-1], folder=tmp_path)


def test_stopped_and_continued(clip: Clip, tracks: Tracks, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("fit", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(clip.frames, folder=tmp_path, progress=stop)
    with pytest.warns(DinotrackWarning, match=f"unfinished fit, step 1 of {STEPS}"):
        assert dinotrack.load(tmp_path, clip.frames, device="cpu").steps == 1
    with pytest.warns(DinotrackWarning, match=f"goes on from step 1 of {STEPS}"):
        resumed = fit(clip.frames, folder=tmp_path)
    assert (resumed.steps, resumed.steps_trained_now) == (STEPS, STEPS - 1)
    assert all(len(values) == STEPS for values in resumed.record["losses"].values())
    assert same(resumed.track(clip.queries), tracks)


def test_every_source_is_the_same_video(clip: Clip, tracks: Tracks, tmp_path: Path) -> None:
    slower = fit(Video(clip.frames, 12.0, "pony")).track(clip.queries)
    assert slower.fps == 12.0
    assert same(dataclasses.replace(slower, fps=tracks.fps), tracks)
    write_video(tmp_path / "pony.mp4", clip.frames, 12.0)
    kept = fit(tmp_path / "pony.mp4", folder=tmp_path / "model")
    from_path = kept.track(clip.queries)
    sound(from_path, len(clip.queries), FRAMES)
    assert from_path.fps == 12
    assert same(dinotrack.load(tmp_path / "model", device="cpu").track(clip.queries), from_path)


def test_what_is_wrong_is_said_before_any_fit(clip: Clip) -> None:
    def never(stage: str, done: int, total: int) -> None:
        raise AssertionError(stage)

    outside = {
        "row 1: t": [[0, 1, 1], [FRAMES, 1, 1]],
        "row 0: x": [[0, 96, 1]],
        "row 0: y": [[0, 1, np.nan]],
    }
    for message, queries in outside.items():
        with pytest.raises(InputError, match=message):
            dinotrack.track(clip.frames, queries, preset="fast", progress=never)
    with pytest.raises(InputError, match=f"query_frame: t = {FRAMES}"):
        dinotrack.track(clip.frames, grid=2, query_frame=FRAMES, progress=never)
    with pytest.raises(InputError, match="foreground has shape"):
        fit(clip.frames, foreground=np.ones((FRAMES, 8, 8), dtype=bool), progress=never)
    with pytest.raises(InputError, match="unknown preset"):
        fit(clip.frames, preset="best", progress=never)
    for device in ("abacus", "cpu:x", "cuda:one"):
        with pytest.raises(InputError, match="unknown device"):
            fit(clip.frames, device=device, progress=never)
    with pytest.raises(InputError, match="this machine has no cuda:99; take device='cpu'"):
        fit(clip.frames, device="cuda:99", progress=never)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"settings": ["training.steps=2"]}, "settings are given by their keys"),
        ({"settings": "training.steps=2"}, "settings are given by their keys"),
        ({"device": 0}, "unknown device 0"),
        ({"seed": 1.5}, "seed 1.5 is no whole number"),
        ({"grid": "4"}, "grid='4' is no whole number"),
        ({"query_frame": 1.5}, "query_frame=1.5 is no whole number"),
        ({"video": [1, 2]}, "frame 0 is no array but int; give a path, or frames"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_arguments_of_another_kind_are_named(arguments: dict[str, Any], said: str) -> None:
    """In a process of its own, as the types of calls are checked in this one."""
    call = {"video": "videos/demo.mp4", "preset": "fast", "device": "cpu"} | arguments
    code = f"import dinotrack; dinotrack.track(**{call!r})"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    assert f"InputError: {said}" in run.stderr.splitlines()[-1]


WRONG_CALLS: list[tuple[str, str, str]] = [
    ("render", "None, 'o.mp4'", "tracks are what `Fitted.track` gives, not NoneType"),
    ("render", "None, 3", "an overlay's name is a path, not int"),
    ("fit", "device=3", "unknown device 3; choose auto, cpu"),
    ("fit", "device=torch.device('meta')", "unknown device device(type='meta'); choose auto"),
    ("fit", "device=torch.device('cuda', 99)", "this machine has no cuda:99; take device='cpu'"),
    ("fit", "device='cuda:'", "unknown device 'cuda:'"),
    ("fit", "device='cuda:' + '9' * 5000", "unknown device 'cuda:99"),
    ("fit", "preset='best'", "unknown preset 'best'"),
    ("fit", "preset=''", "unknown preset ''"),
    ("fit", "preset=['fast']", "unknown preset ['fast']"),
    ("fit", "settings=['training.steps=3']", "settings are given by their keys"),
    ("fit", "settings={1: 2}", "settings are given by their keys"),
    ("fit", "settings={'training.steps': 10**5000}", "training.steps=(a number too long to show)"),
    ("fit", "settings={'training.steps_a_frame': 1e308}", "training.steps=10000000000 is out"),
    ("fit", "seed=None", "seed None is no whole number"),
    ("fit", "seed=1.5", "seed 1.5 is no whole number"),
    ("fit", "seed='1'", "seed '1' is no whole number"),
    ("fit", "seed=10**5000", "the seed is out of range"),
    ("fit", "folder=''", "the name of the folder is empty"),
    ("fit", "folder=3", "a folder is a path, not int"),
    ("fit", "folder='README.md'", "README.md is a file; choose another folder"),
    ("fit", "folder='README.md/model'", "can't be written"),
    ("fit", "folder='a' * 300", "can't be read (File name too long)"),
    ("fit", "progress=3", "progress is a function of (stage, done, total), not int"),
    ("track", "progress='bar'", "progress is a function of (stage, done, total), not str"),
    ("load", "folder=''", "the name of the folder is empty"),
    ("load", "folder=None", "a folder is a path, not NoneType"),
    ("load", "folder='README.md'", "README.md is a file; choose another folder"),
    ("load", "folder='docs'", "docs holds no fit (checkpoint.safetensors is missing)"),
]
"""A function, what is wrong with its call, and what is said."""


def test_wrong_calls_are_one_sentence() -> None:
    """In a process of its own, as the types of calls are checked in this one."""
    lines = ["import dinotrack, numpy, torch", "frames = numpy.zeros((2, 16, 16, 3), 'uint8')"]
    for function, argument, _ in WRONG_CALLS:
        first = "" if function == "load" else "frames, "
        lines += ["try:", f"    dinotrack.{function}({first}{argument})"]
        lines += ["    print('taken')", "except dinotrack.InputError as error:"]
        lines += ["    print(str(error).replace(chr(10), '|'))"]
    code = "\n".join(lines)
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    said = run.stdout.splitlines()
    for (function, argument, wanted), found in zip(WRONG_CALLS, said, strict=True):
        assert wanted in found, (function, argument)
        assert len(found) < 500, (function, argument)


def test_none_is_what_is_taken_where_nothing_is_named(clip: Clip, tracks: Tracks) -> None:
    named = fit(clip.frames, device=None, progress=None, folder=None, foreground=None)
    assert same(named.track(clip.queries, progress=None), tracks)


def test_what_is_missing_is_told_before_flow_is_computed(clip: Clip) -> None:
    def never(stage: str, done: int, total: int) -> None:
        assert stage == "read"

    for settings in ({"backbone.name": "nope"}, {"flow.name": "nope"}):
        with pytest.raises(InputError, match=r"unknown .* 'nope'"):
            fit(clip.frames, settings, progress=never)


def test_a_fit_can_be_pickled_and_holds_no_frozen_features(clip: Clip) -> None:
    fitted = fit(clip.frames, VIT)
    copied = pickle.loads(pickle.dumps(fitted))
    assert same(copied.track(clip.queries), fitted.track(clip.queries))
    assert fitted.learnt.video.maps is fitted.maps


def test_no_steps_are_no_fit(clip: Clip, tmp_path: Path) -> None:
    untrained = fit(clip.frames, {"training.steps": 0}, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    assert "labels" not in untrained.record["seconds"]
    sound(untrained.track(grid=2), 4, FRAMES)


def test_foreground_given(clip: Clip, tracks: Tracks, tmp_path: Path) -> None:
    masks = np.zeros((FRAMES, *SIZE), dtype=bool)
    masks[:, 10:40, 20:60] = True
    kept = fit(clip.frames, foreground=masks, folder=tmp_path)
    assert not same(kept.track(clip.queries), tracks)
    assert fit(clip.frames, foreground=masks, folder=tmp_path).steps_trained_now == 0
    with pytest.raises(InputError, match="foreground"):
        fit(clip.frames, folder=tmp_path)


def test_grid_and_mask(fitted: Fitted) -> None:
    mask = np.zeros(SIZE, dtype=bool)
    mask[:, :48] = True
    assert len(fitted.track(grid=3).queries) == 9
    half = fitted.track(grid=4, query_frame=2, mask=mask).queries
    assert len(half) == 8
    assert (half[:, 0] == 2).all()
    assert (half[:, 1] < 48).all()


def test_masks_of_another_size_or_kind(fitted: Fitted, clip: Clip) -> None:
    for shape in ((8, 8), (400, 400), (*SIZE, 1)):
        with pytest.raises(InputError, match="mask has shape"):
            fitted.track(grid=2, mask=np.ones(shape, dtype=bool))
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[:, :48] = 255
    assert len(fitted.track(grid=4, mask=mask).queries) == 8
    masks = np.zeros((FRAMES, *SIZE), dtype=bool)
    masks[:, 10:40, 20:60] = True
    plain, floats = (
        fit(clip.frames, foreground=m).track(grid=2) for m in (masks, masks.astype(np.float32))
    )
    assert same(plain, floats)


def test_frames_too_small_for_the_networks_are_named(clip: Clip) -> None:
    for settings in ({"model.widths": [4] * 8}, {"video.height": 3}):
        with pytest.raises(InputError, match=r"the networks need frames of \d+ px a side"):
            fit(clip.frames, settings)


def odd_clips(frames: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "two frames": frames[:2],
        "static": frames[:1].repeat(4, axis=0),
        "black": np.zeros_like(frames[:4]),
        "small": np.ascontiguousarray(frames[:3, :17, :23]),
        "one pixel": np.ascontiguousarray(frames[:3, :1, :1]),
        "one line": np.ascontiguousarray(frames[:3, :1]),
    }


@pytest.mark.parametrize(
    "name", ["two frames", "static", "black", "small", "one pixel", "one line"]
)
def test_odd_videos(clip: Clip, name: str) -> None:
    frames = odd_clips(clip.frames)[name]
    blank = name in ("black", "one pixel")
    with pytest.warns(DinotrackWarning, match="every frame") if blank else nullcontext():
        tracks = dinotrack.track(frames, grid=2, preset="fast", device="cpu", settings=SETTINGS)
    sound(tracks, 4, len(frames))
    if blank:
        assert not tracks.visible[:, 1:].any()
    if name in ("static", "black"):
        np.testing.assert_allclose(
            tracks.xy, np.broadcast_to(tracks.queries[:, None, 1:], tracks.xy.shape), atol=1.0
        )


def test_one_frame_is_tracked_with_a_warning(clip: Clip, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with pytest.warns(DinotrackWarning, match="the video has one frame"):
        one = fit(clip.frames[:1], folder=tmp_path, progress=lambda *report: told.append(report))
    tracks = one.track(grid=2)
    sound(tracks, 4, 1)
    np.testing.assert_array_equal(tracks.xy[:, 0], tracks.queries[:, 1:])
    last = {stage: (done, total) for stage, done, total in told}
    assert all(done == total for done, total in last.values()), last
    assert same(fit(clip.frames[:1], folder=tmp_path).track(grid=2), tracks)


def test_a_seed_of_any_kind_of_integer(clip: Clip, tmp_path: Path) -> None:
    numpy_seed = fit(clip.frames[:2], seed=np.int64(5), folder=tmp_path)
    assert same(
        fit(clip.frames[:2], seed=5, folder=tmp_path).track(grid=2), numpy_seed.track(grid=2)
    )
    for seed in (-1, 2**32):
        with pytest.raises(InputError, match="seed"):
            fit(clip.frames[:2], seed=seed)


@pytest.mark.parametrize("preset", ["paper", "quality"])
def test_presets_with_a_vit(clip: Clip, preset: str, tmp_path: Path) -> None:
    """Both on a random ViT; the paper's late losses are reached, and the ViT is the same one when
    loaded."""
    state = torch.random.get_rng_state()
    size = {"video.height": 70, "video.width": 98} if preset == "paper" else {"video.area": 70 * 98}
    few_chains = {
        "trajectories.cycle_error": 0.05,
        "trajectories.direct_cycle_error": 0.05,
    }  # the rest may be buddies
    settings = VIT | size | few_chains | {"training.steps": 4, "training.batch": 32}
    fitted = dinotrack.fit(clip.frames[:4], preset=preset, settings=settings, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    queries = clip.queries[clip.queries[:, 0] < 4]
    tracks = fitted.track(queries)
    sound(tracks, len(queries), 4)
    paper = {"flow", "buddies", "refined_buddies", "cycle", "norm", "angle"}
    assert fitted.record["losses"].keys() == (paper if preset == "paper" else {"flow", "heatmap"})
    assert all(np.isfinite(values).all() for values in fitted.record["losses"].values())
    if preset == "paper":
        assert fitted.maps.values.shape == (4, 192, (70 - 16) // 7 + 1, (98 - 16) // 7 + 1)
        fitted.save(tmp_path)
        assert same(dinotrack.load(tmp_path, clip.frames[:4], device="cpu").track(queries), tracks)


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["fast", "paper", "quality"])
def test_cuda_finds_what_the_cpu_finds(clip: Clip, preset: str, tmp_path: Path) -> None:
    """Kernels, half precision and recorded steps included; the two learn apart, a little more with
    each step."""
    size = {"video.height": 70, "video.width": 98} if preset == "paper" else {"video.area": 70 * 98}
    settings = (
        size | ({} if preset == "fast" else VIT) | {"training.steps": 8, "training.batch": 64}
    )
    found = []
    for device in ("cpu", "cuda"):
        fitted = dinotrack.fit(clip.frames, preset=preset, settings=settings, device=device)
        found.append(fitted.track(clip.queries))
        sound(found[-1], len(clip.queries), FRAMES)
    fitted.save(tmp_path)
    assert same(dinotrack.load(tmp_path, clip.frames, device="cuda").track(clip.queries), found[-1])
    assert np.median(np.abs(found[0].xy - found[1].xy)) < 0.5
    assert (found[0].visible == found[1].visible).mean() > 0.8


@pytest.mark.parametrize("kind", ["gone", "pipe"])
def test_a_video_that_is_not_there_any_more_is_named(kind: str, clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "pony.mp4"
    write_video(path, clip.frames[:2], 12.0)
    fit(path, folder=tmp_path / "model")
    path.unlink()
    if kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("there are no named pipes")
        os.mkfifo(path)
    with pytest.raises(InputError, match=r"the video of .*model can't be read: .*name the video"):
        dinotrack.load(tmp_path / "model", device="cpu")


def test_a_fit_that_goes_astray_leaves_no_tracks_and_no_fit(clip: Clip, tmp_path: Path) -> None:
    astray = {"training.learning_rate": 1e30, "training.gradient_clip": 0}
    with pytest.raises(InputError, match=r"not finite.*'training\.learning_rate'"):
        fit(clip.frames, astray, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
