"""The overlay: marks where the points are, colours, and the file."""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import dinotrack
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.media.encoding import write_video
from dinotrack.overlay import STYLES, Scene, draw_frame, rainbow, render
from dinotrack.overlay.camera import camera_path, moved
from dinotrack.overlay.styles import speeds
from dinotrack.terminal import arguments
from dinotrack.tracks import Tracks
from dinotrack.video import Video, read_video


def make_tracks(xy: np.ndarray, visible: np.ndarray, size: tuple[int, int]) -> Tracks:
    queries = np.concatenate((np.zeros((len(xy), 1)), xy[:, 0]), axis=1)
    return Tracks(
        xy.astype(np.float32),
        visible,
        visible.astype(np.float32),
        queries.astype(np.float32),
        size,
        25.0,
    )


def still(
    x: float, y: float, size: tuple[int, int], visible: bool = True, length: int = 1
) -> Tracks:
    return make_tracks(np.full((1, length, 2), (x, y)), np.full((1, length), visible), size)


def centroid(frame: np.ndarray) -> tuple[float, float]:
    weight = frame.astype(float).sum(axis=-1)
    y, x = np.indices(weight.shape)
    return float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("visible", [True, False])
@pytest.mark.parametrize(("x", "y"), [(50.0, 40.0), (50.5, 40.25), (61.8, 33.3)])
@pytest.mark.parametrize("size", [(80, 120), (480, 854)])
def test_mark_is_centred_on_the_point(
    style: str, visible: bool, x: float, y: float, size: tuple[int, int]
) -> None:
    drawn = draw_frame(np.zeros((*size, 3), np.uint8), still(x, y, size, visible), 0, style)
    assert centroid(drawn) == pytest.approx((x, y), abs=0.3)


def test_hidden_points_are_hollow() -> None:
    black = np.zeros((480, 854, 3), np.uint8)
    assert draw_frame(black, still(100, 100, (480, 854)), 0)[100, 100].max() == 255
    hidden = draw_frame(black, still(100, 100, (480, 854), visible=False), 0)
    assert hidden[100, 100].max() == 0
    assert hidden[96:105, 96:105].max() > 100


@pytest.mark.parametrize("style", STYLES)
def test_frame_is_left_alone(style: str) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    before = frame.copy()
    drawn = draw_frame(frame, still(20, 20, (80, 120), length=5), 4, style)
    assert np.array_equal(frame, before)
    assert drawn.dtype == np.uint8
    far = np.hypot(*(np.indices((80, 120)) - 20)) > 8
    assert np.array_equal(drawn[far], frame[far])


def test_marks_scale_with_the_resolution() -> None:
    areas = [
        (
            draw_frame(np.zeros((h, w, 3), np.uint8), still(w / 2, h / 2, (h, w)), 0).max(axis=-1)
            > 127
        ).sum()
        for h, w in ((360, 640), (720, 1280))
    ]
    assert areas[1] / areas[0] == pytest.approx(4, rel=0.2)


def moving(visible: np.ndarray) -> Tracks:
    """A point 10 px further right in every frame, from x = 10."""
    xy = np.stack((10 + 10.0 * np.arange(20), np.full(20, 40.0)), axis=-1)[None]
    return make_tracks(xy, visible, (80, 240))


def test_trails_fade_and_end() -> None:
    black = np.zeros((80, 240, 3), np.uint8)
    drawn = (
        draw_frame(black, moving(np.ones((1, 20), bool)), 18)[40].max(axis=-1).astype(int)
    )  # now at x = 190
    middles = drawn[75:190:10]
    assert (np.diff(middles) > 0).all()
    assert drawn[:65].max() == 0
    assert drawn[196:].max() == 0
    assert draw_frame(black, moving(np.ones((1, 20), bool)), 18, "points")[40, :180].max() == 0


def test_trails_skip_hidden_stretches() -> None:
    visible = np.ones((1, 20), bool)
    visible[0, 12] = False
    drawn = draw_frame(np.zeros((80, 240, 3), np.uint8), moving(visible), 18)[40].max(axis=-1)
    assert drawn[123:138].max() == 0  # frames 11 to 13: x = 120 to 140
    assert drawn[105] > 0
    assert drawn[155] > 0


def test_colours_run_through_the_rainbow() -> None:
    y = np.linspace(0, 79, 9)
    xy = np.stack((np.full(9, 5.0), y), axis=-1)[:, None]
    colours = rainbow(make_tracks(xy, np.ones((9, 1), bool), (80, 120)))
    assert len(set(colours)) == 9
    assert colours[0] == (255, 38, 38)  # red on top
    close = rainbow(make_tracks(xy / 40, np.ones((9, 1), bool), (80, 120)))
    assert close == colours


def test_points_far_outside_and_tiny_frames() -> None:
    far = make_tracks(
        np.array([[[1e9, -1e9]], [[-1e9, 5.0]]]), np.array([[True], [False]]), (80, 120)
    )
    assert draw_frame(np.zeros((80, 120, 3), np.uint8), far, 0).max() == 0
    assert draw_frame(np.zeros((1, 1, 3), np.uint8), still(0, 0, (1, 1)), 0).max() > 0


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [(81, 121), (1, 1), (64, 48)])
def test_render_writes_every_frame(style: str, size: tuple[int, int], tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    frames = np.full((3, *size, 3), 90, np.uint8)
    render(
        frames,
        still(0, 0, size, length=3),
        tmp_path / "o.mp4",
        style,
        lambda *step: seen.append(step),
    )
    video = read_video(tmp_path / "o.mp4")
    assert video.frames.shape == (3, size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert seen[-1] == ("overlay", 3, 3)


def test_render_takes_a_path_and_keeps_its_rate(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", np.zeros((4, 32, 48, 3), np.uint8), 30000 / 1001)
    render(str(tmp_path / "v.mp4"), still(24, 16, (32, 48), length=4), tmp_path / "o.mp4")
    video = read_video(tmp_path / "o.mp4")
    assert video.fps == pytest.approx(30000 / 1001)
    assert centroid(np.clip(video.frames[2].astype(int) - 40, 0, 255)) == pytest.approx(
        (24, 16), abs=0.6
    )


def test_render_refuses_what_does_not_belong(tmp_path: Path) -> None:
    frames = np.zeros((3, 32, 48, 3), np.uint8)
    with pytest.raises(InputError, match="unknown overlay style 'dots'; choose trails or points"):
        render(frames, still(0, 0, (32, 48), length=3), tmp_path / "o.mp4", "dots")
    with pytest.raises(InputError, match="the tracks are of 2 frames of 48 x 32, the video has 3"):
        render(frames, still(0, 0, (32, 48), length=2), tmp_path / "o.mp4")
    assert list(tmp_path.iterdir()) == []


def lines(count: int, length: int = 3) -> Tracks:
    """Points of a small video, each moving to the right."""
    x = 5 + 4.0 * np.arange(length)
    y = 6 + 8.0 * np.arange(count)[:, None]
    xy = np.stack(np.broadcast_arrays(x, y), axis=-1)
    return make_tracks(xy, np.ones((count, length), bool), (48, 64))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("nowhere", [np.nan, np.inf, -np.inf])
def test_what_has_no_position_is_drawn_nowhere(style: str, nowhere: float) -> None:
    black = np.zeros((48, 64, 3), np.uint8)
    one, two = lines(1), lines(2)
    xy = two.xy.copy()
    xy[1] = nowhere
    gone = dataclasses.replace(two, xy=xy, queries=one.queries[[0, 0]])
    first = dataclasses.replace(one, queries=one.queries)
    for visible in (True, False):
        held = dataclasses.replace(gone, visible=np.stack((one.visible[0], [visible] * 3)))
        drawn = draw_frame(black, held, 2, style)
        assert np.array_equal(drawn.any(axis=-1), draw_frame(black, first, 2, style).any(axis=-1))
    now_and_then = two.xy.copy()
    now_and_then[1, 1] = nowhere
    drawn = draw_frame(black, dataclasses.replace(two, xy=now_and_then), 2, style)
    assert drawn[14, 13].max() > 100
    assert drawn[14, :10].max() == 0


@pytest.mark.parametrize("style", STYLES)
def test_no_points_are_the_plain_video(style: str, tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    assert np.array_equal(draw_frame(frame, lines(0), 2, style), frame)
    render(np.stack([frame] * 3), lines(0), tmp_path / "o.mp4", style)
    assert read_video(tmp_path / "o.mp4").frames.shape == (3, 48, 64, 3)


def with_fields(tracks: Tracks, **fields: object) -> Tracks:
    """Tracks of other kinds of values, which the types checked in tests would not let through."""
    changed = dataclasses.replace(tracks)
    for name, value in fields.items():
        object.__setattr__(changed, name, value)
    return changed


def test_tensors_and_lists_are_taken(tmp_path: Path) -> None:
    frames = np.zeros((3, 48, 64, 3), np.uint8)
    tracks = lines(2)
    torches = with_fields(
        tracks,
        xy=torch.from_numpy(tracks.xy).double().requires_grad_(),
        visible=torch.from_numpy(tracks.visible),
        queries=torch.from_numpy(tracks.queries),
    )
    lists = with_fields(tracks, xy=tracks.xy.tolist(), visible=tracks.visible.tolist())
    render(frames, tracks, tmp_path / "a.mp4")
    for other in (torches, lists):
        render(frames, other, tmp_path / "b.mp4")
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"xy": np.zeros((1, 3, 2))}, r"xy is float64 \[1, 3, 2\], but visible has 2 points in 3"),
        ({"xy": [[0, 1], [2]]}, "xy: can't be read as an array"),
        ({"xy": "text"}, "xy: give the numbers themselves"),
        ({"xy": np.ma.masked_less(np.arange(12.0).reshape(2, 3, 2), 3)}, "xy: is a masked array"),
        ({"queries": np.zeros((3, 3))}, "queries is float64"),
        ({"visible": np.ones(3, bool)}, r"visible has shape \[3\]"),
        ({"visible": None}, r"visible has shape \[\]"),
    ],
)
def test_tracks_that_do_not_fit_themselves(
    fields: dict[str, object], message: str, tmp_path: Path
) -> None:
    frames = np.zeros((3, 48, 64, 3), np.uint8)
    with pytest.raises(InputError, match=message):
        render(frames, with_fields(lines(2), **fields), tmp_path / "o.mp4")
    assert list(tmp_path.iterdir()) == []


def test_the_overlay_is_an_mp4_in_a_folder_that_is_there(tmp_path: Path) -> None:
    frames = np.zeros((3, 48, 64, 3), np.uint8)
    for name in ("o.gif", "o.avi", "o.webm", "o", "o.mp4.bak", ""):
        with pytest.raises(InputError, match=r"give a name that ends in \.mp4"):
            render(frames, lines(1), tmp_path / name)
    with pytest.raises(InputError, match=r"absent is no folder that exists") as caught:
        render(frames, lines(1), tmp_path / "absent" / "o.mp4")
    assert ".part" not in str(caught.value)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match=r"folder\.mp4: can't be written \(it is a folder\)"):
        render(frames, lines(1), tmp_path / "folder.mp4")


def test_the_video_is_never_drawn_over(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, np.zeros((3, 48, 64, 3), np.uint8), 24)
    before = path.read_bytes()
    (tmp_path / "soft.mp4").symlink_to(path)
    (tmp_path / "hard.mp4").hardlink_to(path)
    video = read_video(path)
    for source in (path, video, tmp_path / "soft.mp4"):
        for target in (path, tmp_path / "soft.mp4", tmp_path / "hard.mp4"):
            with pytest.raises(InputError, match="is the video itself"):
                render(source, lines(1), target)
    assert path.read_bytes() == before


def test_drawing_is_told_from_its_beginning(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    frames = np.zeros((3, 48, 64, 3), np.uint8)
    render(frames, lines(1), tmp_path / "o.mp4", progress=lambda *step: told.append(step))
    assert told == [("overlay", t, 3) for t in range(4)]


def test_the_overlay_of_a_varying_rate_keeps_its_times(tmp_path: Path) -> None:
    times = np.array([0.0, 0.5, 1.0, 1.1, 1.2])
    frames = np.zeros((5, 48, 64, 3), np.uint8)
    video = Video(frames, 4 / 1.2, "screen", uneven_times=times)
    render(video, lines(1, length=5), tmp_path / "o.mp4")
    with pytest.warns(DinotrackWarning, match="varies"):
        drawn = read_video(tmp_path / "o.mp4")
    np.testing.assert_allclose(drawn.times, times, atol=0.001)


# --- styles and wishes ----------------------------------------------------------------------------


def panned(length: int = 8) -> tuple[np.ndarray, Tracks]:
    """A camera that pans 3 px a frame and zooms a little over a still scene; the first point is of
    the scene, and the second one moves up 4 px a frame through it."""
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (160, 240, 3), np.uint8), (0, 0), 1.5)
    scene = cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX)
    views, places = [], []
    for t in range(length):
        camera = np.array(((1 + 0.005 * t, 0, -3.0 * t), (0, 1 + 0.005 * t, -1.0 * t)))
        views.append(cv2.warpAffine(scene, camera, (160, 120)))
        world = np.array(((80.0, 50.0, 1), (90.0, 100.0 - 4 * t, 1)))
        places.append(world @ camera.T)
    xy = np.stack(places, axis=1)
    return np.stack(views), make_tracks(xy, np.ones((2, length), bool), (120, 160))


def test_the_camera_is_found_by_the_picture() -> None:
    frames, tracks = panned()
    path = camera_path(frames)
    still, moves = (
        np.concatenate([moved(tracks.xy[n : n + 1, t], path[t]) for t in range(8)])
        for n in range(2)
    )
    np.testing.assert_allclose(still, np.tile(tracks.xy[0, 0], (8, 1)), atol=0.6)
    np.testing.assert_allclose(np.diff(moves, axis=0), np.tile((0, -4), (7, 1)), atol=0.5)
    black = np.zeros((3, 40, 60, 3), np.uint8)
    assert np.array_equal(camera_path(black), np.tile(np.eye(3), (3, 1, 1)))


def test_a_cut_is_no_motion_of_the_camera() -> None:
    frames, _ = panned(3)
    other = np.random.default_rng(5).integers(0, 256, frames.shape[1:], np.uint8)
    path = camera_path(np.stack((*frames, other)))
    assert np.array_equal(path[3], path[2])


def test_rainbow_trails_stay_on_the_background() -> None:
    """What stands still in the scene has no trail, though it moves in the picture."""
    frames, tracks = panned()
    black = np.zeros((120, 160, 3), np.uint8)
    for n, long_way in ((0, False), (1, True)):
        alone = Scene(tracks.chosen([n]), frames=frames)
        drawn = STYLES["rainbow"](black, alone, 7).any(axis=-1)
        tall = np.ptp(np.flatnonzero(drawn.any(axis=1)))
        assert (tall > 20) == long_way
        assert np.ptp(np.flatnonzero(drawn.any(axis=0))) < 12
    plain = STYLES["trails"](black, Scene(tracks.chosen([0])), 7).any(axis=-1)
    assert np.ptp(np.flatnonzero(plain.any(axis=0))) > 12


def test_heat_is_confidence() -> None:
    tracks = dataclasses.replace(
        make_tracks(np.array([[[20.0, 20]], [[60, 20]]]), np.ones((2, 1), bool), (40, 80)),
        confidence=np.array([[0.0], [1.0]], np.float32),
    )
    drawn = draw_frame(np.zeros((40, 80, 3), np.uint8), tracks, 0, "heat").astype(int)
    blue, yellow = drawn[20, 20], drawn[20, 60]
    assert blue[2] > 2 * blue[0]
    assert yellow[0] > 200
    assert yellow[2] < 80


def test_arrows_point_where_points_go() -> None:
    black = np.zeros((80, 240, 3), np.uint8)
    drawn = draw_frame(black, moving(np.ones((1, 20), bool)), 10, "arrows").any(axis=-1)
    across = np.flatnonzero(drawn.any(axis=0))
    assert across.min() >= 106  # it starts at the point, x = 110
    assert 157 <= across.max() <= 163  # five frames of 10 px ahead
    last = STYLES["arrows"](black, Scene(moving(np.ones((1, 20), bool)), trail=2), 19)
    assert 217 <= np.flatnonzero(last.any(axis=-1).any(axis=0)).max() <= 223


def test_a_leap_has_no_arrow() -> None:
    xy = np.full((1, 3, 2), (50.0, 40.0))
    xy[0, 2] = (150, 40)
    tracks = make_tracks(xy, np.ones((1, 3), bool), (80, 240))
    assert not speeds(tracks, 1).any()
    hidden = dataclasses.replace(moving(np.ones((1, 20), bool)), visible=np.zeros((1, 20), bool))
    assert not speeds(hidden, 5).any()


@pytest.mark.parametrize("style", ["trails", "rainbow", "heat"])
def test_a_trail_is_as_long_as_wished(style: str) -> None:
    black = np.zeros((80, 240, 3), np.uint8)
    tracks = moving(np.ones((1, 20), bool))
    lengths = []
    for trail in (0, 3, 6):
        drawn = STYLES[style](black, Scene(tracks, trail), 18).any(axis=-1)
        lengths.append(190 - np.flatnonzero(drawn.any(axis=0)).min())
    assert lengths[0] < 6
    assert lengths[1] == pytest.approx(30, abs=3)
    assert lengths[2] == pytest.approx(60, abs=3)


def test_wishes_of_an_overlay(tmp_path: Path) -> None:
    frames = np.full((3, 48, 64, 3), 90, np.uint8)
    tracks = dataclasses.replace(lines(3), names=("nose", "tail", "0"))
    written = tmp_path / "o.mp4"
    dinotrack.render(frames, tracks, written, "points", side_by_side=True, points=["tail"])
    drawn = read_video(written).frames
    assert drawn.shape == (3, 48, 128, 3)
    assert np.abs(drawn[:, :, :60].astype(int) - 90).max() < 12
    marked = np.abs(drawn[0].astype(int) - 90).max(axis=-1) > 60
    y, x = np.argwhere(marked).mean(axis=0)
    assert (x - 64, y) == pytest.approx(tuple(tracks.xy[1, 0]), abs=0.7)
    for points, kept in (("0", 2), ("1, nose", 1), ([2], 2)):
        dinotrack.render(frames, tracks, written, trail=0, points=points)
        marked = np.abs(read_video(written).frames[0].astype(int) - 90).max(axis=-1) > 60
        assert marked[int(tracks.xy[kept, 0, 1]), 5]


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"points": "3"}, "no point is called '3'; give names, or numbers up to 1"),
        ({"points": ["mane"]}, "no point is called 'mane'"),
        ({"points": "-1"}, "no point is called '-1'"),
        ({"trail": -1}, "a trail is a number of frames, 0 or more, not -1"),
    ],
)
def test_wishes_that_cannot_be(wishes: dict[str, Any], message: str, tmp_path: Path) -> None:
    frames = np.zeros((3, 48, 64, 3), np.uint8)
    with pytest.raises(InputError, match=message):
        dinotrack.render(frames, lines(2), tmp_path / "o.mp4", **wishes)
    assert list(tmp_path.iterdir()) == []


def test_overlay_options_of_the_command_line(tmp_path: Path) -> None:
    parsed = arguments.parse(
        ["v.mp4", "--overlay-style", "heat", "--overlay-points", "0,2", "--trail", "7",
         "--side-by-side"]
    )  # fmt: skip
    assert (parsed.overlay_style, parsed.overlay_points) == ("heat", "0,2")
    assert (parsed.trail, parsed.side_by_side) == (7, True)


@pytest.mark.parametrize("name", STYLES)
def test_every_style_is_told_of(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """README and --help know all styles, and README says what the code says."""
    page = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    told = (STYLES[name].__doc__ or "").split("\n")[0]
    assert f"| `{name}` | {told} |" in page
    with pytest.raises(SystemExit):
        arguments.parse(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    first, *middle, last = STYLES
    listed = f"{first} (default), " + ", ".join(middle) + f" or {last}"
    assert f"how points are drawn: {listed}" in said
