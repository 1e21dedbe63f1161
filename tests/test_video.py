"""Reading anything, resizing, writing what browsers play."""

import errno
import hashlib
import io
import re
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.media.encoding import write_video
from dinotrack.media.frames import each_frame, one_frame
from dinotrack.video import Video, content_hash, read_video
from dinotrack.working import resize


def picture(height: int, width: int, shift: int = 0) -> np.ndarray:
    """A smooth RGB picture, which compression changes little."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x + shift) / 30), np.cos(y / 25), np.sin((x + y) / 40)]
    return np.stack([128 + 80 * w for w in waves], axis=-1).astype(np.uint8)


def clip(length: int, height: int, width: int) -> np.ndarray:
    return np.stack([picture(height, width, 2 * t) for t in range(length)])


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True
    )


# Frames FFmpeg decodes, (H, W), what is warned of. Readers that stop at the first damaged packet
# get 51 frames of truncated_faststart (the last two are whole) and 8 of mp4parse_no_timescale; all
# the others agree with SOURCE.txt.
READABLE = {
    "truncated_faststart.mp4": (53, (480, 368), "damaged .* frames read: 53 of about 87"),
    "mp4parse_no_timescale.mp4": (170, (240, 320), "damaged.*time stamps are damaged"),
    "nasa_13013.mp4": (325, (180, 320), None),
    "moviepy_video_with_failing_audio.mp4": (280, (360, 640), None),
    "moviepy_no_duration.webm": (74, (720, 1280), None),
    "test_non_zero_start.mp4": (12, (112, 200), "not square"),
    "size_change.ts": (40, (240, 320), "changes midway"),
    "nasa_13013_rotated.mp4": (17, (480, 270), None),
    "decord_video_90.mov": (3, (568, 320), None),
    "decord_video_180.mov": (3, (320, 568), None),
    "anamorphic_sar2.mp4": (40, (480, 184), "not square"),
    "mp4parse_h264_white_frame_sar_16_9.mp4": (1, (480, 640), "not square"),
    "testsrc2_odd_height_and_width_mpeg2.mp4": (10, (81, 121), None),
    "tiny_48x32.mp4": (30, (32, 48), None),
    "-video-with-dash-.mp4": (5, (1, 1), None),
    "h265_10bits.mp4": (30, (200, 200), None),
    "testsrc2_hdr.mp4": (60, (180, 320), None),
    "av1_video.mkv": (125, (360, 640), None),
    "frame_exceeds_screen.gif": (1, (4, 4), None),
    "corrupt.jpg": (1, (90, 120), "damaged"),
    "one_frame.mp4": (1, (480, 368), None),
    "two_frames.mp4": (2, (480, 368), None),
    "black_20f.mp4": (20, (240, 320), None),
}
REFUSED = {
    "zero_bytes.mp4": "it is empty",
    "mp4parse_test_case_1185230.mp4": "no frames can be read",
    "mp4parse_bipbop_nonfragment_header.mp4": "partial file",
    "small_Mpeg4.mp4": "no video stream",
    "SOURCE.txt": "text file",
}


@pytest.mark.parametrize("name", READABLE)
def test_odd_files_are_read(name: str, shared_data: Path) -> None:
    count, size, warning = READABLE[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        video = read_video(shared_data / "bad" / name)
    assert video.frames.shape == (count, *size, 3)
    assert video.frames.dtype == np.uint8
    assert video.name == Path(name).stem
    assert 0 < video.fps <= 1000
    assert all(issubclass(w.category, DinotrackWarning) for w in caught)
    messages = "; ".join(str(w.message) for w in caught)
    assert re.search(warning, messages) if warning else not messages


@pytest.mark.parametrize("name", REFUSED)
def test_broken_files_are_refused_in_one_sentence(name: str, shared_data: Path) -> None:
    with pytest.raises(InputError, match=REFUSED[name]) as caught:
        read_video(shared_data / "bad" / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_bad_file_is_covered(shared_data: Path) -> None:
    assert {p.name for p in (shared_data / "bad").iterdir()} == READABLE.keys() | REFUSED.keys()


@pytest.mark.parametrize(
    "name", ["decord_video_90.mov", "decord_video_180.mov", "nasa_13013_rotated.mp4"]
)
def test_frames_are_opencv_s_rotation_too(name: str, shared_data: Path) -> None:
    """But for rounding, and for colours, of which a file has one for every four pixels.

    OpenCV takes the nearest of these, and we interpolate. So the brightness is compared, which
    every pixel has of its own.
    """
    video = read_video(shared_data / "bad" / name)
    capture = cv2.VideoCapture(str(shared_data / "bad" / name))
    for frame in video.frames:
        off = (capture.read()[1][..., ::-1].astype(int) - frame) @ (0.2126, 0.7152, 0.0722)
        assert np.abs(off).max() <= 5
        assert 0 <= off.mean() <= 1
    assert video.fps == pytest.approx(capture.get(cv2.CAP_PROP_FPS), rel=1e-9)


@pytest.mark.parametrize(
    ("size", "fps", "length"),
    [
        ((1, 1), 30000 / 1001, 3),
        ((81, 121), 25.0, 5),
        ((48, 64), 24000 / 1001, 2),
        ((2, 16), 0.5, 2),
        ((16, 16), 1, 1),
    ],
)
def test_written_video_reads_back(
    size: tuple[int, int], fps: float, length: int, tmp_path: Path
) -> None:
    frames = clip(length, *size)
    write_video(tmp_path / "-a b.mp4", iter(frames), fps)
    video = read_video(tmp_path / "-a b.mp4")
    height, width = size
    assert video.frames.shape == (length, height + height % 2, width + width % 2, 3)
    assert video.fps == pytest.approx(fps, rel=1e-9)
    assert video.name == "-a b"
    assert [p.name for p in tmp_path.iterdir()] == ["-a b.mp4"]
    error = np.abs(video.frames[:, :height, :width].astype(float) - frames)
    assert error.mean() < 3


def test_odd_sides_repeat_their_edge(tmp_path: Path) -> None:
    frames = np.zeros((2, 33, 33, 3), np.uint8)
    frames[:, :, 16:] = frames[:, 16:] = 200
    write_video(tmp_path / "odd.mp4", frames, 25)
    read = read_video(tmp_path / "odd.mp4").frames
    assert np.abs(read[:, 33].astype(int) - read[:, 32]).max() <= 4
    assert np.abs(read[:, :, 33].astype(int) - read[:, :, 32]).max() <= 4


def test_written_video_suits_browsers(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, clip(3, 32, 48), 25)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    log = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True, check=False
    ).stderr
    assert "h264" in log
    assert "yuv420p(tv, bt709" in log


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frames to write"):
        write_video(tmp_path / "v.mp4", [], 25)
    with pytest.raises(InputError, match=r"can't be written.*No such file"):
        write_video(tmp_path / "absent" / "v.mp4", clip(40, 64, 64), 25)


def test_variable_rate_keeps_each_frame_once(tmp_path: Path) -> None:
    write_video(tmp_path / "even.mp4", clip(8, 32, 32), 20)
    jumps = "setpts='(N+20*gt(N,3))/20/TB'"
    ffmpeg(
        "-i",
        tmp_path / "even.mp4",
        "-vf",
        jumps,
        "-fps_mode",
        "passthrough",
        tmp_path / "uneven.mp4",
    )
    with pytest.warns(DinotrackWarning, match="frame rate varies"):
        video = read_video(tmp_path / "uneven.mp4")
    assert len(video.frames) == 8
    np.testing.assert_allclose(video.times, [0, 0.05, 0.1, 0.15, 1.2, 1.25, 1.3, 1.35], atol=1e-9)


def test_first_video_stream_and_no_cover(tmp_path: Path) -> None:
    write_video(tmp_path / "small.mp4", clip(3, 16, 16), 20)
    write_video(tmp_path / "large.mp4", clip(5, 32, 32), 20)
    inputs = ("-i", tmp_path / "small.mp4", "-i", tmp_path / "large.mp4")
    ffmpeg(*inputs, "-map", "0", "-map", "1", "-c", "copy", tmp_path / "both.mp4")
    assert read_video(tmp_path / "both.mp4").frames.shape == (3, 16, 16, 3)
    Image.fromarray(picture(16, 16)).save(tmp_path / "cover.png")
    inputs = ("-i", tmp_path / "cover.png", "-i", tmp_path / "large.mp4")
    options = ("-c:v:0", "png", "-c:v:1", "copy", "-disposition:v:0", "attached_pic")
    ffmpeg(*inputs, "-map", "0", "-map", "1", *options, tmp_path / "cover.mp4")
    assert read_video(tmp_path / "cover.mp4").frames.shape == (5, 32, 32, 3)


def test_audio_only_text_and_missing(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", tmp_path / "sound.m4a")
    with pytest.raises(
        InputError, match=r"sound\.m4a: no frames can be read from it: it holds no video stream"
    ):
        read_video(tmp_path / "sound.m4a")
    (tmp_path / "notes.txt").write_text("There once was a video that wasn't one.\n" * 99)
    with pytest.raises(InputError, match="text file"):
        read_video(tmp_path / "notes.txt")
    (tmp_path / "notes.mp4").write_text("words\n" * 9)
    with pytest.raises(InputError, match="no frames can be read"):
        read_video(tmp_path / "notes.mp4")
    with pytest.raises(InputError, match="no such file"):
        read_video(tmp_path / "absent.mp4")


def test_gif_frames_and_rate(tmp_path: Path) -> None:
    images = [Image.fromarray(f) for f in clip(4, 20, 30)]
    images[0].save(
        tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100, loop=0
    )
    video = read_video(tmp_path / "a.gif")
    assert video.frames.shape == (4, 20, 30, 3)
    assert video.fps == pytest.approx(10)


def test_folder_in_natural_order(tmp_path: Path) -> None:
    frames = clip(11, 6, 8)
    for t in reversed(range(11)):
        Image.fromarray(frames[t]).save(tmp_path / f"Frame{t}.png")
    (tmp_path / "readme.txt").write_text("not an image")
    (tmp_path / "._Frame0.png").write_text("what macOS leaves")
    seen: list[tuple[int, int]] = []
    video = read_video(tmp_path, lambda stage, done, total: seen.append((done, total)))
    assert np.array_equal(video.frames, frames)
    assert (video.fps, video.name) == (24.0, tmp_path.name)
    assert seen[-1] == (11, 11)


def test_folder_with_damaged_image(tmp_path: Path) -> None:
    for t, frame in enumerate(clip(3, 40, 40)):
        Image.fromarray(frame).save(tmp_path / f"{t}.jpg")
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(DinotrackWarning, match=r"1\.jpg: damaged image left out"):
        assert len(read_video(tmp_path).frames) == 2
    Image.fromarray(picture(40, 41)).save(tmp_path / "3.jpg")
    with (
        pytest.warns(DinotrackWarning),
        pytest.raises(InputError, match=r"3\.jpg: is 41 x 40, the ones before it 40 x 40"),
    ):
        read_video(tmp_path)


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image that can be read"):
        read_video(tmp_path)


def test_grey_sixteen_bit_and_turned_images(tmp_path: Path) -> None:
    levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(levels).save(tmp_path / "0.png")
    assert np.array_equal(read_video(tmp_path).frames[0, ..., 1], levels >> 8)
    (tmp_path / "0.png").unlink()
    turned = Image.fromarray(picture(8, 12))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "0.jpg", exif=exif)
    assert read_video(tmp_path).size == (12, 8)


def test_arrays_are_checked() -> None:
    frames = clip(2, 3, 4)
    video = read_video(frames)
    assert video.frames is frames
    assert (video.size, video.fps) == ((3, 4), 24.0)
    assert read_video(video) is video
    for bad in (frames[0], frames[:0], frames[..., :1], frames.astype(np.float32)):
        with pytest.raises(InputError, match="uint8 RGB"):
            read_video(bad)


def test_frames_of_a_file_lie_on_disk_and_can_be_changed(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", clip(5, 32, 48), 24)
    for t, frame in enumerate(clip(5, 32, 48)):
        Image.fromarray(frame).save(tmp_path / f"{t}.png")
    for video in (read_video(tmp_path / "a.mp4"), read_video(tmp_path)):
        kept = video.frames.copy()
        video.frames[3, 1] = kept[3, 1] = 7
        assert not np.shares_memory(one_frame(video.frames, 3), video.frames)
        assert np.array_equal(np.stack(list(each_frame(video.frames))), kept)
        assert np.array_equal(np.stack(list(each_frame(video.frames[1:4, ::2]))), kept[1:4, ::2])
        assert np.array_equal(video.frames, kept)
    assert all(
        a.base is b.base for a, b in zip(each_frame(kept), kept, strict=True)
    )  # in memory: nothing is copied


@pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="only Linux tells what of a file is in memory"
)
def test_no_more_than_a_frame_of_a_file_is_held_in_memory(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", clip(12, 240, 320), 24)
    video = read_video(tmp_path / "a.mp4")
    most = 0
    for frame in each_frame(video.frames):
        most = max(most, resident(video.frames) - frame.nbytes)
    content_hash(video)
    resize(video.frames, (48, 64), "area")
    assert resident(video.frames) == most == 0
    assert video.frames.sum() > 0
    assert resident(video.frames) >= video.frames.nbytes


def resident(frames: np.ndarray) -> int:
    """Bytes of the mapping at the frames' address that are in memory."""
    address = frames.ctypes.data
    here = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and ":" not in first:
            low, high = (int(part, 16) for part in first.split("-"))
            here = low <= address < high
        elif here and first == "Rss:":
            return 1024 * int(rest[0])
    raise AssertionError("no such mapping")


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", clip(3, 32, 48), 24)
    Image.fromarray(picture(40, 40)).save(tmp_path / "a.png")

    class Full(io.FileIO):
        def __init__(self, *needed: object) -> None:
            super().__init__(tmp_path / "scratch", "w+")

        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    for room in ("decoding", "folders"):
        monkeypatch.setattr(f"dinotrack.media.{room}.open_scratch", Full)
    for source in (tmp_path / "a.mp4", tmp_path):
        with pytest.raises(InputError, match=r"put aside \(No space left on device\); set TMPDIR"):
            read_video(source)


def test_videos_are_read_and_points_checked_without_torch() -> None:
    """So that a wrong path or a wrong query file is answered at once."""
    rooms = ("errors", "files", "formats", "overlay", "video", "weights")
    imports = "; ".join(f"import dinotrack.{room}" for room in rooms)
    code = f"import sys; {imports}; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_hash_is_of_the_frames() -> None:
    frames = clip(2, 4, 6)
    first = content_hash(Video(frames, 24, "a"))
    assert first == content_hash(Video(np.asfortranarray(frames), 30, "b"))
    assert first != content_hash(Video(frames.reshape(2, 6, 4, 3), 24, "a"))
    zeros = content_hash(Video(np.zeros((1, 2, 2, 3), np.uint8), 24, "z"))
    assert zeros == hashlib.sha256(b"(1, 2, 2, 3)" + bytes(12)).hexdigest()
