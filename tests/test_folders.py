"""Frames from folders of pictures and from stacks: which, in what order, and at what depth."""

import os
import random
import re
import warnings
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.media.numbering import doubts, in_order, twins, without_companions
from dinotrack.video import Video, read_video

SIZE = (12, 16)


def texture(seed: int) -> np.ndarray:
    """A grey picture of all 4,096 levels of 12 bits."""
    return np.random.default_rng(seed).integers(0, 4096, SIZE).astype(np.uint16)


def coloured(level: int) -> Image.Image:
    """A picture that can be told by its first pixel, and is not flat."""
    pixels = np.dstack([texture(level) >> 4] * 3).astype(np.uint8)
    pixels[0, 0] = level
    return Image.fromarray(pixels)


def fill(folder: Path, names: Sequence[str]) -> Path:
    """Write a picture for each name, whose first pixel is the place of the name in the list."""
    folder.mkdir(exist_ok=True)
    for place, name in enumerate(names):
        coloured(place).save(folder / name, **({"quality": 100} if name.endswith("jpg") else {}))
    return folder


def read(path: Path) -> tuple[Video, list[str]]:
    """A video, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        video = read_video(path)
    assert all(issubclass(warning.category, DinotrackWarning) for warning in caught)
    said = [str(warning.message) for warning in caught]
    assert all(str(path) in text and "\n" not in text for text in said)
    return video, said


def firsts(video: Video) -> list[int]:
    return video.frames[:, 0, 0, 0].tolist()


# ---- order


@pytest.mark.parametrize(
    "names",
    [
        "frame1 frame2 frame10",
        "Img2 img3 IMG10",
        "img img1 img2",
        "img (1);img (2);img (10)",
        "t0.05 t0.1 t0.15 t0.2 t0.25",
        "t0 t0.5 t1 t1.5 t2",
        "t0.95 t1 t1.05 t1.1 t1.15",
        "0.03 0.07 0.1 0.13 0.17",
        "t0,05 t0,1 t0,15 t0,2",
        "img-2 img-1 img0 img1 img2",
        "img-1 img-2 img-3",
        "img-0.5 img0 img0.5",
        "img\N{MINUS SIGN}2 img\N{MINUS SIGN}1 img0",
        "t-1 t+0 t+1",
        "-2 -1 0",
        "frame_-2 frame_-1",
        "x-1_y-2 x0_y1 x1_y2",
        "2024-01-02 2024-01-03 2024-02-01",
        "12-30-58 12-30-59 12-31-00",
        "take1.9 take1.10 take1.11",
        "v1.2.9 v1.2.10",
        "s1.1 s1.2 s1.10",
        "clip.0001 clip.0002 clip.0003",
        "²1 ²2 ²10",
        "\uff11 \uff12 \uff11\uff10",  # of full width
        "a b c",
        "5",
    ],
)
def test_order(names: str) -> None:
    ordered = names.split(";" if ";" in names else " ")
    for seed in range(6):
        shuffled = [Path(f"{name}.png") for name in ordered]
        random.Random(seed).shuffle(shuffled)
        assert [path.stem for path in in_order(shuffled)] == ordered


def test_order_is_sure_to_the_last_name() -> None:
    for names in (
        ("1.png", "01.png", "1.PNG", "1.jpg"),
        ("0.png", "0.0.png"),
        ("x0.png", "x0.0.png"),
    ):
        paths = [Path(name) for name in names]
        assert in_order(paths) == in_order(paths[::-1])


@settings(deadline=None)
@given(st.sets(st.text("0123459.,-+_ aFm\xb2\uff11\u0664\udce4", min_size=1), max_size=8))
def test_any_names_can_be_ordered(names: set[str]) -> None:
    paths = [Path(f"x{name}.png") for name in names]
    assert sorted(in_order(paths)) == sorted(paths)
    assert in_order(paths) == in_order(paths[::-1])
    assert all(isinstance(doubt, str) for doubt in doubts(paths))
    kept, left_out = without_companions(paths)
    assert sorted(kept + left_out) == sorted(paths)
    assert sum(map(len, twins(paths))) <= len(paths)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("0 1 2 5 6 9", r"numbers are missing \(after 2.png comes 5.png\); .* by the 6 files"),
        ("1 2 3 5", "numbers are missing"),
        ("0 10 20 40", "numbers are missing"),
        ("t0.1 t0.2 t0.4 t0.5", "numbers are missing"),
        (
            "cam1_f1 cam1_f2 cam2_f1 cam2_f2",
            r"several numbers, .* \(cam1_f2.png, then cam2_f1.png\)",
        ),
        ("1 2 3 title", r"names have no number, and are taken as frames .* \(title.png\)"),
        ("t0_z0_c0 t0_z0_c1 t1_z0_c0 t1_z0_c1", r"several .* \(t0_z0_c1.png, then t1_z0_c0.png\)"),
        ("left1 left2 right1 right2", r"2 series, which follow one another \(left1.png, right1"),
        ("0.25 0.5 0.8", r"decimal numbers \(0.25.png before 0.5.png\)"),
    ],
)
def test_doubts_are_told(names: str, told: str) -> None:
    paths = [Path(f"{name}.png") for name in names.split()]
    (found,) = doubts(paths)
    assert re.search(told, found)


@pytest.mark.parametrize(
    "names",
    [
        "0 1 2 3",
        "7",
        "5 10 15 20",
        "100 133 167 200",
        "1000 1041 1083 1125",
        "img-2 img-1 img0",
        "t0.05 t0.1 t0.15",
        "2024-01-30 2024-02-01 2024-03-01",
        "2024-01-01_09-00 2024-01-01_10-00 2024-01-02_09-00 2024-01-02_10-00",
        "img_t0_z0 img_t1_z0",
        "a b c",
        "first last",
        "img img1 img2",
        "img img_1 img_2",
    ],
)
def test_what_is_in_order_is_not_doubted(names: str) -> None:
    paths = [Path(f"{name}.png") for name in names.split()]
    assert list(doubts(paths)) == []
    assert all(len(alike) == 1 for alike in twins(paths))
    assert without_companions(paths) == (paths, [])


@pytest.mark.parametrize(
    ("frames", "companions"),
    [
        ("000.png 001.png", "000_mask.png 001_mask.png"),
        ("frame_000.png frame_001.png", "mask_000.png mask_001.png"),
        ("000.jpg 001.jpg", "000-depth.png 001-depth.png 000_mask.png"),
        ("img1_rgb.png img2_rgb.png", "img1_seg.png img2_seg.png"),
        ("a.png b.png", "a_Mask.png b_MASK.png"),
        ("masked1.png masked2.png", ""),
        ("mask_000.png mask_001.png", ""),
        ("label1.png label2.png 7.png", ""),
    ],
)
def test_masks_beside_frames_are_told_from_frames(frames: str, companions: str) -> None:
    expected = [Path(name) for name in frames.split()], [Path(n) for n in companions.split()]
    kept, left_out = without_companions([path for part in expected for path in part])
    assert (kept, left_out) == expected


def test_masks_among_frames_are_left_out_with_a_word(tmp_path: Path) -> None:
    names = ["000.png", "001.png", "000_mask.png", "001_mask.png"]
    video, (said,) = read(fill(tmp_path / "a", names))
    assert firsts(video) == [0, 1]
    assert "2 pictures beside frames are left out (000_mask.png, 001_mask.png)" in said
    masks_only, said_of_none = read(fill(tmp_path / "b", names[2:]))
    assert firsts(masks_only) == [0, 1]
    assert said_of_none == []


@pytest.mark.parametrize(
    "names",
    [
        "000.png 000.jpg 001.png 001.jpg",
        "000_left.png 000_right.png 001_left.png 001_right.png",
        "1.png 01.png 2.png 02.png",
        "1.png 1b.png 2.png 2b.png",
    ],
)
def test_two_pictures_of_each_number_are_refused(names: str, tmp_path: Path) -> None:
    fill(tmp_path, names.split())
    with pytest.raises(InputError, match=r"more than one picture of each number, such as .* and "):
        read_video(tmp_path)


def test_one_number_with_two_files_is_told(tmp_path: Path) -> None:
    video, (said,) = read(fill(tmp_path, ["1.png", "2.jpg", "2.png", "3.png"]))
    assert len(video.frames) == 4
    assert "1 of its numbers have more than one file, such as 2.jpg and 2.png" in said


@pytest.mark.parametrize("copy", ["2 (1)", "2 copy", "2 copy 2", "2 - Copy", "2 - Copy (2)", "2 2"])
def test_a_copy_of_a_frame_is_told(copy: str) -> None:
    paths = [Path(f"{name}.png") for name in ("1", "2", copy, "3")]
    assert [len(alike) for alike in twins(paths)] == [1, 2, 1]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("t0.05 t0.1 t0.15 t0.2 t0.25", None),
        ("img-2 img-1 img0 img1 img2", None),
        ("²1 ²2", None),
        ("0 1 2 5 6 9", "numbers are missing"),
    ],
)
def test_folders_of_strange_numbers(names: str, told: str | None, tmp_path: Path) -> None:
    video, said = read(fill(tmp_path, [f"{name}.png" for name in names.split()]))
    assert firsts(video) == list(range(len(names.split())))
    assert len(said) == (told is not None)
    assert told is None or told in said[0]


# ---- depth


def write_deep(folder: Path, kind: str) -> list[np.ndarray]:
    """Three frames of 12 bits, written as `kind`; the 8-bit frames that they mean."""
    folder.mkdir()
    deep = [texture(seed) for seed in range(3)]
    deep[1][:] = deep[1] // 8  # a dark frame, which stays dark
    for t, grey in enumerate(deep):
        colour = np.dstack((grey, grey, grey))
        if kind == "pgm":
            (folder / f"{t}.pgm").write_bytes(b"P5 16 12 65535\n" + grey.astype(">u2").tobytes())
        elif kind == "int32 tiff":
            Image.fromarray(grey.astype(np.int32)).save(folder / f"{t}.tif")
        elif kind == "float tiff":
            Image.fromarray((grey / np.float32(4095)).astype(np.float32)).save(folder / f"{t}.tif")
        elif kind == "float colour tiff":
            cv2.imwrite(str(folder / f"{t}.tif"), (colour / 4095).astype(np.float32))
        else:
            cv2.imwrite(str(folder / f"{t}{kind}"), grey if kind == ".tif" else colour)
    return deep


@pytest.mark.parametrize(
    "kind", [".tif", ".png", "pgm", ".ppm", "int32 tiff", "float tiff", "float colour tiff"]
)
def test_deep_frames_have_one_scale(kind: str, tmp_path: Path) -> None:
    deep = write_deep(tmp_path / "frames", kind)
    video, (said,) = read(tmp_path / "frames")
    scale = 255 / 4095 if "float" in kind else 1 / 16
    for frame, grey in zip(video.frames, deep, strict=True):
        exact = np.rint(grey * scale) if "float" in kind else grey >> 4
        assert np.abs(frame.astype(int) - exact[..., None]).max() <= ("float" in kind)
    told = "0 becomes black and 1 white" if "float" in kind else "taken as 12-bit ones"
    assert told in said


def test_frames_of_eight_and_of_sixteen_bits_need_no_word(tmp_path: Path) -> None:
    Image.fromarray(texture(0) << 4).save(tmp_path / "0.png")
    coloured(1).save(tmp_path / "1.png")
    video, (said,) = read(tmp_path)
    assert np.array_equal(video.frames[0, ..., 2], texture(0) >> 4)
    assert np.array_equal(video.frames[1], np.asarray(coloured(1)))
    assert "1 of its pictures have 8 bits and others more" in said
    (tmp_path / "1.png").unlink()
    assert read(tmp_path)[1] == []


def test_numbers_that_are_not_finite_are_told(tmp_path: Path) -> None:
    grey = (texture(0) / np.float32(4095)).astype(np.float32)
    grey[0, :3] = np.nan, np.inf, -np.inf
    Image.fromarray(grey).save(tmp_path / "0.tif")
    video, said = read(tmp_path)
    assert video.frames[0, 0, :3, 0].tolist() == [0, 255, 0]
    assert any("not finite" in text for text in said)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(7, 8, "within one grey level"), (7, 11, "within 4 grey levels of 256"), (7, 60, None)],
)
def test_a_sequence_that_is_as_good_as_flat_is_told(
    low: int, high: int, told: str | None, tmp_path: Path
) -> None:
    for t in range(3):
        pixels = np.random.default_rng(t).integers(low, high, (*SIZE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{t}.png")
    _, said = read(tmp_path)
    assert len(said) == (told is not None)
    assert told is None or told in said[0]


# ---- stacks and animations


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".stk"])
def test_all_pages_of_a_stack(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    path = folder / f"stack{suffix}"
    pages = [coloured(t) for t in range(6)]
    pages[0].save(path, "tiff", save_all=True, append_images=pages[1:])
    seen: list[tuple[int, int]] = []
    video = read_video(path, lambda stage, done, total: seen.append((done, total)))
    assert firsts(video) == [0, 1, 2, 3, 4, 5]
    assert (video.name, video.path, video.fps) == ("stack", str(path.resolve()), 24.0)
    assert seen[0] == (0, 1)
    assert seen[-1] == (6, 6)
    from_folder, said = read(folder)
    assert firsts(from_folder) == [0, 1, 2, 3, 4, 5]
    assert said == []


@pytest.mark.parametrize("name", ["a.lsm", "a.png", "a"])
def test_a_stack_of_any_name(name: str, tmp_path: Path) -> None:
    first, *others = map(coloured, range(3))
    first.save(tmp_path / name, "TIFF", save_all=True, append_images=others)
    assert firsts(read_video(tmp_path / name)) == [0, 1, 2]


def test_a_deep_stack_has_one_scale(tmp_path: Path) -> None:
    pages = [Image.fromarray(texture(t)) for t in range(4)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    video, (said,) = read(tmp_path / "a.tif")
    for t, frame in enumerate(video.frames):
        assert np.array_equal(frame[..., 1], texture(t) >> 4)
    assert "12-bit" in said


@pytest.mark.parametrize("kind", ["tif", "png", "webp", "gif"])
def test_animations_and_stacks_of_a_folder_are_taken_whole(kind: str, tmp_path: Path) -> None:
    for file in range(2):
        pages = [coloured(100 * file + 20 * t) for t in range(3)]
        options = {"lossless": True} if kind == "webp" else {}
        path = tmp_path / f"{file}.{kind}"
        pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    video, (said,) = read(tmp_path)
    np.testing.assert_allclose(firsts(video), [0, 20, 40, 100, 120, 140], atol=8)
    assert f"all taken, one after another: 0.{kind} (3), 1.{kind} (3)" in said


def test_a_gif_beside_frames_is_a_preview(tmp_path: Path) -> None:
    fill(tmp_path, ["0.png", "1.png", "preview.gif"])
    video, (said,) = read(tmp_path)
    assert firsts(video) == [0, 1]
    assert "passed over, as they are no pictures of the series: preview.gif" in said


def test_a_stack_that_is_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    pages = [coloured(t) for t in range(4)]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 5 // 8])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        with pytest.warns(DinotrackWarning, match=r"a.tif: damaged image left out .*before: 2"):
            assert firsts(read_video(path)) == [0, 1]
        path.write_bytes(whole[:40])
        with pytest.raises(InputError, match=r"a.tif: can't be read \(.*\); give another file"):
            read_video(path)


# ---- what may be wrong


def test_many_damaged_files_are_one_line(tmp_path: Path) -> None:
    fill(tmp_path, [f"{t:03d}.png" for t in range(40)])
    for t in range(5, 35):
        (tmp_path / f"{t:03d}.png").write_bytes(b"hello")
    video, (said,) = read(tmp_path)
    assert len(video.frames) == 10
    assert "30 damaged images left out (005.png: it is no BMP" in said
    assert said.count(".png") == 3
    for path in tmp_path.iterdir():
        path.write_bytes(b"hello")
    with pytest.raises(InputError, match=r"holds no image that can be read \(000.png: it is no"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_folders_among_frames_are_not_waited_for(tmp_path: Path) -> None:
    fill(tmp_path, ["0.png", "1.png"])
    os.mkfifo(tmp_path / "2.png")
    (tmp_path / "3.png").mkdir()
    (tmp_path / "4.png").symlink_to(tmp_path / "absent")
    video, (said,) = read(tmp_path)
    assert firsts(video) == [0, 1]
    assert "passed over, as they are no pictures of the series: 2.png, 3.png, 4.png" in said
    for name, kind in (("2.png", "a named pipe"), (os.devnull, "a device")):
        with pytest.raises(InputError, match=f" is {kind}"):
            read_video(tmp_path / name)


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, ["0.png", "1.png"])
    Image.new("L", (1200, 1000)).save(tmp_path / "2.png")
    decoded: list[tuple[int, int]] = []
    load = Image.Image.convert

    def noted(self: Image.Image, *given: object, **named: object) -> Image.Image:
        decoded.append(self.size)
        return load(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "convert", noted)
    with pytest.raises(InputError, match=r"2.png: is 1200 x 1000, the ones before it 16 x 12"):
        read_video(tmp_path)
    assert set(decoded) == {(16, 12)}


def test_the_room_that_frames_take_is_known_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, ["0.png", "1.png"])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(1000, 0, 1000))
    with pytest.raises(InputError, match=r"its frames take 0.0 MB of disk, .* room for 0.0 MB"):
        read_video(tmp_path)


def test_paths_that_cannot_be() -> None:
    with pytest.raises(InputError, match="the path of the video is empty"):
        read_video("")
    with pytest.raises(InputError, match=r"can't be read \(.*\); check the path|no such file"):
        read_video("a" * 300 + ".mp4")
    with pytest.raises(InputError, match=r"can't be read \(no file can have this name\)"):
        read_video("a\0b.mp4")
    with pytest.raises(InputError, match="no such file or folder"):
        read_video(Path(__file__) / "below a file.mp4")


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(InputError, match=r"can't be read \(Permission denied\); give another"):
        read_video(tmp_path)


# ---- the reports of users


def test_the_cases_of_the_shared_folder(shared_data: Path) -> None:
    cases = shared_data / "cases"
    if not cases.is_dir():
        pytest.skip("no cases there")
    video, said = read(cases / "frames_12bit_tif")
    assert len(said) == 1
    assert video.frames.min() == 677 >> 4
    assert video.frames.max() == 3882 >> 4
    video, said = read(cases / "frames_with_masks")
    assert (len(video.frames), len(said)) == (2, 1)
    assert read(cases / "stack_6_pages.tif")[0].frames.shape == (6, 72, 96, 3)
    video, said = read(cases / "order_negative")
    before = np.asarray(Image.open(cases / "order_negative" / "img-2.png"))
    assert np.array_equal(video.frames[0], before)
    assert said == []
