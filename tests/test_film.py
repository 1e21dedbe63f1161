"""Files decoded by FFmpeg, and files that are no video: what they claim, and what may happen."""

import io
import os
import re
import signal
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.media import ffmpeg as program
from dinotrack.media import frames as scratch
from dinotrack.media.decoding import decode
from dinotrack.media.encoding import check_writable, write_video
from dinotrack.media.levels import scale_for, span_of
from dinotrack.media.rates import DEFAULT_FPS, MAX_FPS, pace_of, simplest
from dinotrack.progress import silent
from dinotrack.video import Video, content_hash, read_video

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
POSIX = pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for FFmpeg")


def ffmpeg(*arguments: str | Path | int) -> None:
    subprocess.run([FFMPEG, "-v", "error", "-y", *map(str, arguments)], check=True)


def clip(length: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Waves that move, in colour."""
    y, x = np.mgrid[:height, :width]
    t = np.arange(length)[:, None, None]
    waves = (np.sin((x + 2 * t) / 5), np.cos((y + t) / 4), np.sin((x + y) / 9 + t))
    return np.stack([128 + 90 * wave for wave in waves], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of 48 x 32, 24 a second."""
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    write_video(path, clip(12), 24)
    return path


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a shell script in the place of FFmpeg, in which $REAL is FFmpeg."""
    path = folder / "ffmpeg"
    path.write_text(f'#!/bin/sh\nREAL="{FFMPEG}"\n{script}\n')
    path.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))


# --- FFmpeg's threads write into each other's lines


@pytest.mark.parametrize("lost", ["n:", "config in"])
def test_a_line_that_lost_its_name_is_asked_for_again(
    lost: str, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen on busy machines: "    Stream #1:0n:   0 pts: ...", with no name of ours before it."""
    said, starts = program.said, list[IO[bytes]]()

    def garbled(log: IO[bytes]) -> str:
        starts.append(log)
        return re.sub(rf"\n\[\S+ @ \S+\] \[info\] {lost}", f"  Stream #1:0{lost}", said(log))

    def garbled_once(log: IO[bytes]) -> str:
        return said(log) if starts else garbled(log)

    expected = read_video(plain)
    monkeypatch.setattr(program, "said", garbled_once)
    video = read_video(plain)
    np.testing.assert_array_equal(np.asarray(video.frames), np.asarray(expected.frames))
    assert (len(starts), video.fps) == (1, expected.fps)
    monkeypatch.setattr(program, "said", garbled)
    with pytest.raises(InputError, match="does not say what its first frame looks like"):
        read_video(plain)


# --- FFmpeg dies


@POSIX
@pytest.mark.parametrize(
    ("passed", "end", "told"),
    [
        (5 * 32 * 48 * 3, "kill -9 $$", "ended by signal 9 after 5 frames"),
        (5 * 32 * 48 * 3, "kill -11 $$", "ended by signal 11 after 5 frames"),
        (5 * 32 * 48 * 3, "exit 244", "failed with status 244 after 5 frames"),
        (5 * 32 * 48 * 3 + 7, "exit 0", "after 5 frames"),
        (0, "kill -9 $$", "ended by signal 9 after 0 frames"),
    ],
)
def test_frames_until_ffmpeg_dies_are_no_video(
    passed: int, end: str, told: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = f'"$REAL" "$@" | head -c {passed}; {end}'
    other = 'exec "$REAL" "$@"'
    stand_in(tmp_path, monkeypatch, f'case "$*" in *rawvideo*) {decoding};; *) {other};; esac')
    with pytest.raises(InputError, match=f"{told}, so the video is not whole"):
        read_video(plain)


@POSIX
@pytest.mark.parametrize("passed", [0, 40, 70, 95, 130, 200])
def test_a_list_of_packets_that_is_cut_off_is_no_list(
    passed: int, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, f'"$REAL" "$@" | head -c {passed}; kill -9 $$')
    with pytest.raises(InputError, match="ended by signal 9"):
        read_video(plain)


@POSIX
def test_an_encoder_that_dies_leaves_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, 'case "$*" in *libx264*mp4*) kill -9 $$;; esac; "$REAL" "$@"')
    with pytest.raises(InputError, match=r"v\.mp4: the video can't be written: FFmpeg was ended"):
        write_video(tmp_path / "v.mp4", clip(40, 240, 320), 24)
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError, InputError])
def test_ffmpeg_ends_with_us(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised while frames are read or made is raised, and nothing is left behind."""
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            started.append(self)

    def stop(stage: str, done: int, total: int) -> None:
        if done:
            raise error

    def frames() -> object:
        yield from clip(3)
        raise error

    write_video(tmp_path / "a.mp4", np.repeat(clip(2, 240, 320), 20, axis=0), 24)
    monkeypatch.setattr(subprocess, "Popen", Noted)
    with pytest.raises(error):
        read_video(tmp_path / "a.mp4", stop)
    with pytest.raises(error):
        write_video(tmp_path / "b.mp4", frames(), 24)
    assert len(started) == 3
    assert all(process.returncode is not None for process in started)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.skipif(os.name != "posix", reason="raises a signal")
def test_a_signal_while_ffmpeg_is_started_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on without an owner, and write its file anew once ours is taken away."""
    started: list[subprocess.Popen[bytes]] = []

    class Struck(subprocess.Popen[bytes]):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Struck)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_video(tmp_path / "b.mp4", clip(3), 24)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [process.poll() is None for process in started] == [False]
    assert not list(tmp_path.iterdir())


# --- what a file may say and point to

FORGED = (
    "x\n[error] all is lost\n[info] Stream mapping:\n[error] all is lost\n"
    "[info]   Duration: 01:00:00.00, start: 0.000000, bitrate: 1 kb/s\n"
    "[info] Input #0, tty, from 'x':\n[info] Output #0, rawvideo, to 'pipe:1':\n"
    "[showinfo@0000000000000000 @ 0x1] [info] n: 0 pts: 0 fmt:gray16le sar:2/1 s:64x48 i:P"
)


@pytest.mark.parametrize(
    "text",
    [
        "Output #0 Video: rawvideo, rgb24, 64x48",
        "Input #0, tty",
        "Duration: 1:2:1.2.3.4",
        "Stream #0:0 -> #0:0",
        FORGED,
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_no_text_in_a_file_steers_us(text: str, suffix: str, plain: Path, tmp_path: Path) -> None:
    path = tmp_path / f"named{suffix}"
    chapter = text.replace("=", "").replace("#", r"\#").replace("\n", "\\\n")
    (tmp_path / "texts").write_text(
        f";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle={chapter}\n"
    )
    key = text.replace("=", "")
    named = ("-metadata", f"title={text}", "-metadata", f"{key}=1")
    of_stream = ("-metadata:s:v", f"title={text}", "-metadata:s:v", f"{key}=1")
    spoken = ("-metadata:s:v", f"language={text}", "-metadata:s:v", f"handler_name={text}")
    inputs = ("-i", plain, "-i", tmp_path / "texts", "-map_chapters", "1", "-c", "copy")
    ffmpeg(*inputs, *named, *of_stream, *spoken, path)
    video = read_video(path)  # a warning would fail this test
    assert content_hash(video) == content_hash(read_video(plain))
    assert video.fps == 24


def test_a_log_is_read_without_moving_where_ffmpeg_writes(tmp_path: Path) -> None:
    """Else it writes over the beginning of its log, after which a title may pass for an error."""
    with (tmp_path / "log").open("w+b", buffering=0) as log:
        log.write(b"[info] Input #0, matroska\n")
        os.lseek(log.fileno(), 5, os.SEEK_SET)
        assert program.said(log).startswith("[info] Input")
        assert os.lseek(log.fileno(), 0, os.SEEK_CUR) == 5


def test_a_damaged_file_is_told_from_what_its_title_says(plain: Path, tmp_path: Path) -> None:
    titled = tmp_path / "titled.mkv"
    text = ("-metadata", f"title={FORGED}", "-metadata", f"{FORGED.replace('=', '')}=1")
    ffmpeg("-i", plain, "-c", "copy", *text, titled)
    data = bytearray(titled.read_bytes())
    middle = len(data) - 700
    data[middle : middle + 400] = bytes(400)
    titled.write_bytes(data)
    with pytest.warns(DinotrackWarning, match="is damaged") as told:
        read_video(titled)
    assert not any("all is lost" in str(warning.message) for warning in told)


NAMES = [
    "x%d.png",
    "x%02d.png",
    "x*.png",
    "[x0]?{}.png",
    "%.png",
    "x%d.p%dg",
    "-x.png",
    "ä 试#.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_pattern(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "of%d[0]*"
    folder.mkdir()
    for t, frame in enumerate(clip(4)):
        Image.fromarray(frame).save(folder / f"x{t}.png")
        Image.fromarray(frame).save(folder / f"x0{t}.png")
    Image.fromarray(255 - clip(1)[0]).save(folder / name, format="png")
    assert np.array_equal(decode(folder / name, silent).frames, 255 - clip(1))


@pytest.mark.parametrize(
    "name", [b"M\xe4use.mp4", b"M\xe4%d.mp4", b"a\n[error] b.mp4", b"e\x1b.mp4"]
)
def test_names_of_any_bytes(name: bytes, plain: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/" + name))
    try:
        path.write_bytes(plain.read_bytes())
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such name")
    assert content_hash(read_video(path)) == content_hash(read_video(plain))


def test_an_animation_whose_name_is_a_pattern_is_read_whole(tmp_path: Path) -> None:
    images = [Image.fromarray(frame) for frame in clip(5)]
    images[0].save(tmp_path / "a%d.gif", save_all=True, append_images=images[1:], duration=40)
    assert len(decode(tmp_path / "a%d.gif", silent).frames) == 5


POINTING = {
    "list.m3u8": "#EXTM3U\n#EXTINF:1,\n{plain}\n#EXT-X-ENDLIST\n",
    "live.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{plain}\n",
    "list.mp4": "#EXTM3U\n#EXTINF:1,\n{plain}\n#EXT-X-ENDLIST\n",
    "concat.mp4": "ffconcat version 1.0\nfile '{plain}'\n",
    "dash.mp4": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" type="static"><Period><AdaptationSet '
    'contentType="video"><Representation id="0" mimeType="video/mp4"><BaseURL>{plain}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "picture.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
    "script.avs": "Version()\n",
    "words.mp4": "words\n" * 9,
    "words.txt": "There once was a video that wasn't one.\n" * 99,
}


@pytest.mark.parametrize("name", POINTING)
def test_files_that_point_to_others_are_refused(name: str, plain: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text(POINTING[name].format(plain=plain))
    with pytest.raises(InputError, match=r"text file, a playlist or a script.*give another file"):
        read_video(tmp_path / name)


@POSIX
def test_pipes_devices_and_sockets_are_refused_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    for name, kind in (("pipe.mp4", "a named pipe"), ("zero.mp4", "a device")):
        with pytest.raises(InputError, match=f"{name} is {kind}"):
            read_video(tmp_path / name)
        with pytest.raises(InputError, match=f"{name} is {kind}"):
            decode(tmp_path / name, silent)


def test_what_ffmpeg_says_is_shown_without_control_characters() -> None:
    assert program.complaint("[error] a\x1b[31m\x07ä.\n") == r"a\x1b[31m\x07ä"
    assert program.complaint("[info] a\n[rawvideo @ 0x1] [error] dts\n") == ""


# --- rates and times

RATES = [
    1000, 1200, 10000, Fraction(240000, 1001), Fraction(30000, 1001), Fraction(24000, 1001),
    Fraction(15000, 1001), Fraction(15, 2), Fraction(2998, 100), Fraction(1, 2), Fraction(1, 3),
    Fraction(1, 30), Fraction(1, 60), Fraction(1, 120), Fraction(1, 300), Fraction(1, 600),
    Fraction(1, 3600), Fraction(1, 86400), 100_000,
]  # fmt: skip


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_rates_are_exact(rate: Fraction, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", clip(5), float(rate))
    video = read_video(tmp_path / "a.mp4")
    assert video.fps == float(rate)
    assert video.uneven_times is None
    np.testing.assert_array_equal(video.times, np.arange(5) / float(rate))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
@pytest.mark.parametrize("rate", ["1000", "240000/1001", "1/120", "24"])
def test_rates_of_other_containers(suffix: str, rate: str, plain: Path, tmp_path: Path) -> None:
    codec = ("-c:v", "mpeg4") if suffix == ".avi" and "/" not in rate else ("-c:v", "ffv1")
    path = tmp_path / f"a{suffix}"
    ffmpeg("-r", rate, "-i", plain, *(codec if suffix != ".mp4" else ("-c:v", "libx264")), path)
    assert read_video(path).fps == float(Fraction(rate))


def test_a_rate_of_thousands_or_once_in_minutes_is_that_of_the_cases(shared_data: Path) -> None:
    cases = shared_data / "cases"
    assert read_video(cases / "highspeed_1000fps.mp4").fps == 1000
    assert read_video(cases / "timelapse_1_per_600s.mp4").fps == 1 / 600


MILLISECOND = Fraction(1, 1000)
PACES = {
    "rounded to the tick": ([0, 33, 67, 100, 133], MILLISECOND, Fraction(30), 30.0),
    "claim that is wrong": ([0, 40, 80, 120], MILLISECOND, Fraction(90000), 25.0),
    "no claim": ([7, 47, 87, 127], MILLISECOND, None, 25.0),
    "no claim, rounded": ([0, 33, 67, 100, 133, 167], MILLISECOND, None, 30.0),
    "two in a tick": ([0, 1, 2, 2, 3], MILLISECOND, Fraction(1200), 1200.0),
    "a little jitter": ([0, 3000, 6010, 9000], Fraction(1, 90000), Fraction(25), 30.0),
    "a GIF, though FFmpeg claims a round rate": (
        [0, 3, 6],
        Fraction(1, 100),
        Fraction(33),
        100 / 3,
    ),
    "a GIF of rounded delays": (
        [0, 4, 8, 13, 17, 21, 25],
        Fraction(1, 100),
        Fraction(24000, 1001),
        24.0,
    ),
    "even, though FFmpeg claims another": (
        [*range(0, 198, 33)],
        MILLISECOND,
        Fraction(30),
        1e3 / 33,
    ),
}


@pytest.mark.parametrize("name", PACES)
def test_even_times_have_an_exact_rate(name: str) -> None:
    stamps, tick, claimed, fps = PACES[name]
    pace = pace_of(stamps, tick, claimed, len(stamps))
    assert (pace.fps, pace.uneven_times, pace.warning) == (fps, None, "")


def test_uneven_times_are_kept_and_said() -> None:
    pace = pace_of([5, 505, 1005, 1038], MILLISECOND, Fraction(30), 4)
    np.testing.assert_allclose(pace.uneven_times, [0, 0.5, 1, 1.033], atol=1e-12)
    assert pace.fps == pytest.approx(3 / 1.033)
    assert "rate varies (frames follow each other after 0.033 to 0.5 s)" in pace.warning


def test_slight_jitter_is_kept_without_a_word() -> None:
    """A phone and a browser show no two frames after exactly the same time."""
    rng = np.random.default_rng(0)
    stamps = np.cumsum(np.append(0, rng.integers(28, 39, 300)))
    pace = pace_of(stamps.tolist(), MILLISECOND, Fraction(30), len(stamps))
    np.testing.assert_allclose(pace.uneven_times, stamps / 1000, atol=1e-12)
    assert pace.warning == ""
    dropped = np.append(stamps, stamps[-1] + 70)
    assert "varies" in pace_of(dropped.tolist(), MILLISECOND, Fraction(30), len(dropped)).warning
    slower = np.append(np.arange(100) * 33, 3267 + np.arange(1, 100) * 40)
    assert "varies" in pace_of(slower.tolist(), MILLISECOND, Fraction(30), len(slower)).warning


def test_a_clock_too_coarse_for_the_rate_is_told() -> None:
    """Matroska counts milliseconds, of which a high-speed camera's frames share one."""
    stamps = [0, 1, 2, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10]
    pace = pace_of(stamps, MILLISECOND, Fraction(1000), len(stamps))
    assert pace.fps == pytest.approx(1200, rel=0.1)
    assert "too coarse to tell its rate exactly" in pace.warning


def test_without_sensible_times_a_word_is_said() -> None:
    for stamps in ([0, 9, 4], [0, 0, 0], []):
        pace = pace_of(stamps, MILLISECOND, Fraction(20), 3)
        assert pace.fps == 20
        assert "time stamps are damaged" in pace.warning
    nothing = pace_of([], MILLISECOND, None, 1)
    assert nothing.fps == DEFAULT_FPS
    assert "no frame rate; 24 a second is taken" in nothing.warning
    for stamps, tick in (([0, 1, 2], Fraction(1, 10**7)), ([0, 1, 2], Fraction(10**6))):
        absurd = pace_of(stamps, tick, None, 3)
        assert absurd.fps == DEFAULT_FPS
        assert "makes no sense; 24 is taken" in absurd.warning


def test_the_simplest_fraction() -> None:
    assert simplest(Fraction(3, 10), Fraction(2, 5)) == Fraction(1, 3)
    assert simplest(Fraction("29.9"), Fraction("30.2")) == 30
    assert simplest(Fraction("0.71"), Fraction("0.72")) == Fraction(5, 7)


UNEVEN = {
    "screen recording": [0, 0.5, 1, 1.5, 1.533, 1.566, 1.6],
    "jitter": [0, 0.03, 0.07, 0.1, 0.15],
    "hours": [0, 1e-4, 1, 5000, 100000],
    "two": [0, 0.7],
}


@pytest.mark.parametrize("name", UNEVEN)
def test_an_uneven_video_keeps_its_times_and_its_length(name: str, tmp_path: Path) -> None:
    times = np.array(UNEVEN[name])
    frames = clip(len(times), 33, 48)
    fps = (len(times) - 1) / times[-1]
    write_video(tmp_path / "a.mp4", frames, fps, times)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DinotrackWarning)
        video = read_video(tmp_path / "a.mp4")
    np.testing.assert_allclose(video.times, times, atol=2e-6)
    assert video.frames.shape == (len(times), 34, 48, 3)
    assert np.abs(video.frames[:, :33].astype(int) - frames).mean() < 8
    said = subprocess.run([FFMPEG, "-i", tmp_path / "a.mp4"], capture_output=True, text=True).stderr
    hours, minutes, seconds = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said).groups()
    length = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    assert length == pytest.approx(2 * times[-1] - times[-2], abs=0.011)


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), float("inf"), 2 * MAX_FPS, 1e-6])
def test_a_rate_that_cannot_be_written_is_refused_at_once(fps: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't be written at .* frames a second"):
        write_video(tmp_path / "a.mp4", clip(2), fps)
    with pytest.raises(InputError, match="can't be written at"):
        check_writable((32, 48), fps)
    assert not list(tmp_path.iterdir())


def test_a_larger_picture_than_fits_is_written_smaller(tmp_path: Path) -> None:
    check_writable((33, 49), 24)
    with pytest.warns(DinotrackWarning, match="will be 16384 x 32, as .* no room for 17001 x 33"):
        check_writable((33, 17001), 24)
    write_video(tmp_path / "a.mp4", np.zeros((2, 33, 17001, 3), np.uint8), 24)
    assert read_video(tmp_path / "a.mp4").size == (32, 16384)


# --- colours


@POSIX
@pytest.mark.parametrize(
    "kind", ["libx264 yuv420p", "mjpeg yuvj422p", "ffv1 yuv420p10le", "ffv1 bgr0"]
)
def test_pixels_are_the_same_on_every_cpu(
    kind: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, pixels = kind.split()
    ffmpeg("-i", plain, "-c:v", codec, "-pix_fmt", pixels, "-s", "54x34", tmp_path / "a.mkv")
    here = content_hash(read_video(tmp_path / "a.mkv"))
    stand_in(tmp_path, monkeypatch, 'exec "$REAL" -cpuflags 0 "$@"')
    assert content_hash(read_video(tmp_path / "a.mkv")) == here


@pytest.mark.parametrize(
    ("size", "tags", "matrix"),
    [
        ("1280x720", (), "bt709"),
        ("640x480", (), "smpte170m"),
        ("1280x720", ("-colorspace", "smpte170m"), "smpte170m"),
        ("640x480", ("-colorspace", "bt709"), "bt709"),
    ],
)
def test_colours_are_those_that_players_show(
    size: str, tags: tuple[str, ...], matrix: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    source = ("-f", "lavfi", "-i", f"color=0xC82828:size={size},format=rgb24", "-frames:v", 2)
    filters = ("-vf", f"scale=out_color_matrix={matrix}:out_range=tv,setparams=colorspace=unknown")
    ffmpeg(*source, *filters, "-pix_fmt", "yuv420p", *tags, path)
    off = read_video(path).frames.astype(int) - (200, 40, 40)
    assert np.abs(off).max() <= 3


DEEP = {
    "12 of 16 bits": ("gray16le", "<u2", 16, "taken as 12-bit ones"),
    "12 bits": ("gray12le", "<u2", 16, ""),
    "16 bits": ("gray16le", "<u2", 257, ""),
    "10 bits in RGB": ("gbrp16le", "<u2", 4, "taken as 10-bit ones"),
    "12 bits in big-endian RGB": ("rgb48be", ">u2", 16, "taken as 12-bit ones"),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_video_keeps_its_levels(name: str, tmp_path: Path) -> None:
    kind, dtype, step, told = DEEP[name]
    frames = clip(4)
    frames[0, 0, 0], frames[0, 0, 1] = 0, 255
    if kind.startswith("gray"):
        frames = np.repeat(frames[..., :1], 3, axis=-1)
    stored = frames.astype(dtype) * step
    if kind.startswith("gray"):
        stored = stored[..., 0]
    elif kind.startswith("gbrp"):
        stored = np.moveaxis(stored[..., [1, 2, 0]], -1, 1)
    (tmp_path / "raw").write_bytes(np.ascontiguousarray(stored.astype(dtype)).tobytes())
    raw = ("-f", "rawvideo", "-pix_fmt", kind, "-s", "48x32", "-r", 24, "-i", tmp_path / "raw")
    codec = "rawvideo" if kind == "rgb48be" else "ffv1"
    ffmpeg(*raw, "-c:v", codec, tmp_path / "deep.nut")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        video = read_video(tmp_path / "deep.nut")
    assert np.array_equal(video.frames, frames)
    messages = "".join(str(warning.message) for warning in caught)
    assert told in messages if told else not messages


def test_a_broken_pixel_does_not_darken_a_deep_video(tmp_path: Path) -> None:
    frames = clip(4)[..., 0]
    stored = frames.astype("<u2") * 16
    stored[:, 10, 20] = 65_535
    (tmp_path / "raw").write_bytes(stored.tobytes())
    raw = (
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gray16le",
        "-s",
        "48x32",
        "-r",
        24,
        "-i",
        tmp_path / "raw",
    )
    ffmpeg(*raw, "-c:v", "ffv1", tmp_path / "deep.nut")
    with pytest.warns(DinotrackWarning, match="12-bit ones; .* far brighter become white"):
        video = read_video(tmp_path / "deep.nut")
    others = np.ones((32, 48), np.bool_)
    others[10, 20] = False
    assert np.array_equal(video.frames[..., 0][:, others], frames[:, others])


def test_numbers_of_damaged_floats_are_no_warning_of_numpy() -> None:
    signalling = np.array([[0x7F800001, 0x3F800000, 0]], np.uint32).view(np.float32)
    span = span_of(signalling)
    assert scale_for(span).apply(signalling).tolist() == [[0, 255, 0]]


# --- streams, memory, disk


def test_an_animation_behind_a_still_is_taken(tmp_path: Path) -> None:
    Image.fromarray(clip(1, 64, 64)[0]).save(tmp_path / "still.png")
    write_video(tmp_path / "moving.mp4", clip(6), 24)
    inputs = ("-i", tmp_path / "still.png", "-i", tmp_path / "moving.mp4")
    ffmpeg(*inputs, "-map", 0, "-map", 1, "-c:v:0", "libx264", "-c:v:1", "copy",
           tmp_path / "both.mp4")  # fmt: skip
    assert read_video(tmp_path / "both.mp4").frames.shape == (6, 32, 48, 3)


def test_an_animated_avif_needs_no_word(tmp_path: Path) -> None:
    """Its first stream is a still, which claims to last a second."""
    first, *others = (Image.fromarray(frame) for frame in clip(6))
    first.save(tmp_path / "a.avif", save_all=True, append_images=others, duration=40)
    video = read_video(tmp_path / "a.avif")
    assert (len(video.frames), video.fps) == (6, 25)


def gif_of(path: Path, side: int, length: int) -> None:
    """A GIF that claims large frames, and holds one pixel of each."""
    frame = b"\x21\xf9\x04\x04\x0a\0\0\0\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    head = b"GIF89a" + side.to_bytes(2, "little") * 2 + b"\x80\0\0\0\0\0\xff\xff\xff"
    path.write_bytes(head + frame * length + b";")


def test_memory_and_disk_are_known_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gif_of(tmp_path / "huge.gif", 16_000, 200)
    with pytest.raises(InputError, match=r"200 frames of 16000 x 16000 would take 10\.2 GB of"):
        read_video(tmp_path / "huge.gif")
    gif_of(tmp_path / "large.gif", 900, 200)
    Usage = type(scratch.shutil.disk_usage(tmp_path))
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda folder: Usage(10**9, 9 * 10**8, 10**8))
    with pytest.raises(
        InputError, match=r"take 0\.5 GB of disk, and .* room for 0\.1 GB; set TMPDIR"
    ):
        read_video(tmp_path / "large.gif")


def test_a_disk_that_is_full_only_when_all_is_written_is_said(tmp_path: Path) -> None:
    class Full(io.FileIO):
        full = True

        def flush(self) -> None:
            if self.full:
                raise OSError(28, "No space left on device")

    with Full(tmp_path / "scratch", "w+") as store:
        with pytest.raises(InputError, match=r"put aside \(No space left on device\); set TMPDIR"):
            scratch.frames_of(store, (1, 1, 1, 3))
        store.full = False


@POSIX
def test_a_folder_for_frames_that_is_not_there_is_said(plain: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys, tempfile\n"
        "tempfile.tempdir = '/nowhere'; os.environ['TMPDIR'] = 'x'\n"
        "from dinotrack import InputError; from dinotrack.video import read_video\n"
        "try: read_video(sys.argv[1])\n"
        "except InputError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code, plain], capture_output=True, text=True)
    assert (
        "can't be put aside (No such file or directory); set TMPDIR to a folder with" in run.stdout
    )


# --- the FFmpeg of the user


@POSIX
def test_an_ffmpeg_that_will_not_do_is_named(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "missing"))
    for use in (lambda: read_video(plain), lambda: check_writable((32, 48), 24),
                lambda: write_video(tmp_path / "v.mp4", clip(2), 24)):  # fmt: skip
        with pytest.raises(InputError, match=r"can't be started from .*missing \(No such file"):
            use()
    (tmp_path / "missing").write_text("not executable")
    with pytest.raises(InputError, match=r"missing \(Permission denied\)"):
        read_video(plain)
    old = """case "$*" in
      *-version*) printf 'ffmpeg version 4.2.2-static\nlibavutil      56. 31.100 / 56. 31.100\n';;
      *fps_mode*) echo "[error] Unrecognized option 'fps_mode'." >&2; exit 1;;
      *) exec "$REAL" "$@";; esac"""
    stand_in(tmp_path, monkeypatch, old)
    with pytest.raises(
        InputError, match=r"FFmpeg 4\.2\.2-static .* is too old, as 5\.1 is the least"
    ):
        read_video(plain)
    stand_in(tmp_path, monkeypatch, "exit 0")
    with pytest.raises(InputError, match="ffmpeg is no FFmpeg"):
        read_video(plain)
    stand_in(tmp_path, monkeypatch, 'case "$*" in *encoder=*) ;; *) exec "$REAL" "$@";; esac')
    with pytest.raises(InputError, match="was built without libx264"):
        check_writable((32, 48), 24)


def test_colours_in_what_ffmpeg_says_do_no_harm(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AV_LOG_FORCE_COLOR", "1")
    assert read_video(plain).fps == 24


def test_times_of_a_video_in_memory() -> None:
    video = Video(clip(3), 10.0, "a")
    np.testing.assert_allclose(video.times, [0, 0.1, 0.2])


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("notes.mp4", bytes(3), r"it is no video of its kind, or was cut off"),
        ("truth.npz", b"PK\x03\x04" + bytes(900), r"it is no video, or its beginning is damaged"),
    ],
)
def test_what_is_no_video_is_told_in_plain_words(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"no frames can be read from it: {told}"):
        read_video(tmp_path / name)
