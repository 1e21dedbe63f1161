"""The truth of synthetic clips, judged by the pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dinotrack.synthesis import Clip, generate
from dinotrack.synthesis.__main__ import main
from dinotrack.synthesis.scene import build_scene
from dinotrack.synthesis.textures import TEXTURES, texture
from dinotrack.video import read_video
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def clip() -> Clip:
    return generate((121, 201), frames=20, layers=4, seed=3, points=96)


def test_shapes_and_ranges(clip: Clip) -> None:
    n, t = clip.visible.shape
    assert clip.frames.shape == (20, 121, 201, 3)
    assert clip.frames.dtype == np.uint8
    assert (n, t) == (96, 20)
    assert clip.tracks.shape == (n, t, 2)
    assert clip.tracks.dtype == clip.queries.dtype == np.float32
    assert np.isfinite(clip.tracks).all()
    assert np.bincount(clip.layer).min() > 10  # spread over background and things
    seen = clip.tracks[clip.visible]
    assert seen.min() >= 0
    assert (seen <= (200, 120)).all()


def test_queries_are_first_sightings(clip: Clip) -> None:
    frame = clip.queries[:, 0].astype(int)
    rows = np.arange(len(frame))
    assert clip.visible[rows, frame].all()
    np.testing.assert_array_equal(clip.queries[:, 1:], clip.tracks[rows, frame])
    assert not any(clip.visible[n, :t].any() for n, t in enumerate(frame))


def test_something_hides_and_comes_back(clip: Clip) -> None:
    hidden_between = ~clip.visible & np.logical_or.accumulate(clip.visible, 1)
    hidden_between &= np.logical_or.accumulate(clip.visible[:, ::-1], 1)[:, ::-1]
    assert hidden_between.any(1).sum() > 5


def test_points_solve_the_map_the_picture_is_made_with() -> None:
    scene = build_scene((240, 320), 5, seed=1, difficulty=2.0)
    rng = np.random.default_rng(0)
    for layer in scene.layers:
        q = rng.uniform(-100, 100, (500, 2))
        for t in (0, 13, 47):
            xy = layer.to_frame(q, t, scene.view(t))
            np.testing.assert_allclose(layer.from_frame(xy, t, scene.view(t)), q, atol=1e-7)


def test_visibility_against_the_map_of_layers() -> None:
    """Where the nine pixels around a point show one layer, the point is visible if and only if it
    is its own."""
    scene = build_scene((121, 201), 4, seed=3)
    clip = generate((121, 201), frames=20, layers=4, seed=3, points=96)
    judged = 0
    for t in range(20):
        top = scene.render(t)[1]
        inside = ((clip.tracks[:, t] >= 1) & (clip.tracks[:, t] <= (199, 119))).all(1)
        for n in np.flatnonzero(inside):
            x, y = np.rint(clip.tracks[n, t]).astype(int)
            around = top[y - 1 : y + 2, x - 1 : x + 2]
            if (around == around[0, 0]).all():
                judged += 1
                assert clip.visible[n, t] == (around[0, 0] == clip.layer[n])
    assert judged > 1000


def patches(frame: np.ndarray, xy: np.ndarray, reach: int = 3) -> np.ndarray:
    """[N, n, n, 3] read bilinearly around positions [N, 2]."""
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    x = (xy[:, 0, None, None] + axis[None, None]).repeat(len(axis), 1).reshape(len(xy), -1)
    y = (xy[:, 1, None, None] + axis[None, :, None]).repeat(len(axis), 2).reshape(len(xy), -1)
    out = cv2.remap(frame.astype(np.float32), x, y, cv2.INTER_LINEAR)
    return out.reshape(len(xy), len(axis), len(axis), 3)


def well_seen(clip: Clip, t: int) -> np.ndarray:
    """Points visible in t and t + 1, away from the border, bool [N]."""
    margin = ((clip.tracks[:, t : t + 2] > 5) & (clip.tracks[:, t : t + 2] < (195, 115))).all(
        (1, 2)
    )
    return clip.visible[:, t] & clip.visible[:, t + 1] & margin


def colour_change(clip: Clip, shift: float) -> float:
    changes = []
    for t in range(len(clip.frames) - 1):
        use = well_seen(clip, t)
        before = patches(clip.frames[t], clip.tracks[use, t], 0)
        after = patches(clip.frames[t + 1], clip.tracks[use, t + 1] + shift, 0)
        changes.append(np.abs(after - before).mean((1, 2, 3)))
    return float(np.mean(np.concatenate(changes)))


def test_colours_stay_where_the_tracks_go(clip: Clip) -> None:
    assert colour_change(clip, 0.0) < 3  # grey levels
    assert colour_change(clip, 2.0) > 4 * colour_change(clip, 0.0)


def test_tracks_are_unbiased_to_a_fiftieth_of_a_pixel(clip: Clip) -> None:
    """One least-squares step (Lucas and Kanade) over all patches of all frame pairs finds no
    displacement left."""
    normal, right = np.zeros((2, 2)), np.zeros(2)
    for t in range(len(clip.frames) - 1):
        use = well_seen(clip, t)
        a, b = (patches(clip.frames[s], clip.tracks[use, s]) for s in (t, t + 1))
        gradient = np.stack(np.gradient((a + b) / 2, axis=(2, 1)), -1)
        good = np.abs(b - a).mean((1, 2, 3)) < 12  # patches that an outline crosses tell nothing
        normal += np.einsum("nabcx,nabcy->xy", gradient[good], gradient[good])
        right += np.einsum("nabcx,nabc->x", gradient[good], (b - a)[good])
    displacement = np.linalg.solve(normal, right)
    assert np.abs(displacement).max() < 0.02


def test_same_seed_same_bytes_another_seed_another_clip() -> None:
    first, second, other = (generate((40, 60), 4, 2, seed, 16) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.tracks, second.tracks)
    np.testing.assert_array_equal(first.visible, second.visible)
    assert not np.array_equal(first.frames, other.frames)


def test_a_longer_clip_begins_like_a_shorter_one() -> None:
    short, long = (generate((40, 60), frames, 2, 5, 16) for frames in (3, 6))
    np.testing.assert_array_equal(long.frames[:3], short.frames)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (13, 7), (33, 17), (17, 200), (64, 65)])
@pytest.mark.parametrize("layers", [0, 3])
def test_any_size(size: tuple[int, int], layers: int) -> None:
    clip = generate(size, frames=3, layers=layers, seed=1, points=8)
    assert clip.frames.shape == (3, *size, 3)
    assert clip.visible.any(1).all()
    assert (
        (size != (1, 1)) <= len(clip.tracks) <= 8
    )  # a single pixel may show only an outline, where no point lies


@pytest.mark.parametrize("kind", TEXTURES)
def test_a_texture_is_a_picture_that_stands_out_more_the_more_vivid_it_is(kind: str) -> None:
    quiet, vivid = (texture(kind, 64, v, np.random.default_rng(0)) for v in (0.0, 1.0))
    assert quiet.shape == vivid.shape == (64, 64, 3)
    assert quiet.dtype == np.uint8
    chroma = [np.ptp(picture.astype(int), axis=-1).mean() for picture in (quiet, vivid)]
    assert chroma[1] > chroma[0] > 0


def test_difficulty_zero_is_a_still() -> None:
    clip = generate((40, 60), 3, 2, seed=0, points=16, difficulty=0.0)
    np.testing.assert_array_equal(clip.frames[0], clip.frames[2])
    np.testing.assert_allclose(clip.tracks[:, 0], clip.tracks[:, 2])


def test_light_noise_and_blur_leave_the_truth_alone() -> None:
    plain = generate((40, 60), 3, 2, seed=0, points=16)
    rough = generate((40, 60), 3, 2, seed=0, points=16, light=0.2, noise=4.0, blur=1.0)
    np.testing.assert_array_equal(plain.tracks, rough.tracks)
    assert not np.array_equal(plain.frames, rough.frames)


def test_command_line_writes_clip_and_truth(tmp_path: Path) -> None:
    main(
        [
            str(tmp_path / "new" / "clip.mp4"),
            "--size",
            "48x64",
            "--frames",
            "3",
            "--layers",
            "1",
            "--points",
            "9",
        ]
    )
    clip = generate((48, 64), 3, layers=1, points=9)
    video = read_video(tmp_path / "new" / "clip.mp4")
    assert video.fps == clip.fps
    assert np.abs(video.frames.astype(float) - clip.frames).mean() < 8  # H.264 loses some
    with np.load(tmp_path / "new" / "clip.npz") as truth:
        assert set(truth) == {"tracks", "visible", "query", "layer", "size"}
        np.testing.assert_array_equal(truth["tracks"], clip.tracks)
        np.testing.assert_array_equal(truth["query"], clip.queries)
        assert tuple(truth["size"]) == (48, 64)


def test_the_demo_fits_its_truth() -> None:
    """The committed clip is small, and its colours stay where its truth says."""
    path = ROOT / "videos" / "demo.mp4"
    assert path.stat().st_size + path.with_suffix(".npz").stat().st_size < 1_000_000
    video = read_video(path)
    with np.load(path.with_suffix(".npz")) as truth:
        assert truth["visible"].shape == (len(truth["query"]), len(video.frames))
        assert tuple(truth["size"]) == video.size
        clip = Clip(
            video.frames,
            truth["tracks"],
            truth["visible"],
            truth["query"],
            truth["layer"],
            video.fps,
        )
    assert colour_change(clip, 0.0) < 6
    assert colour_change(clip, 2.0) > 2 * colour_change(clip, 0.0)
