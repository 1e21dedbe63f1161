"""FFmpeg: the frames of any file, and files that browsers play.

FFmpeg (imageio's binary) does the decoding, not OpenCV, for three reasons: it reads AV1 and HDR
rightly, it goes on after a damaged packet, and its log says what is wrong with a file. On sound
8-bit files both give the same bytes.

Frames come and go through a pipe, as raw bytes. What else we know of a file is read from the log.
"""

import contextlib
import itertools
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np
from jaxtyping import UInt8

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.files import replacing
from dinotrack.frames import Frame, Frames, frames_of, open_scratch, put
from dinotrack.progress import Progress

DEFAULT_FPS = 24.0
MAX_FPS = 1000.0
"""More than that is a broken header."""


def decode(path: Path, progress: Progress) -> tuple[Frames, float]:
    """All frames of a file's first video stream, on disk, and how many there are a second.

    Warnings and errors are those of `read_video`, which alone calls this.
    """
    with (
        open_scratch() as store,
        _new_log() as log,
        subprocess.Popen(
            _decode_command(path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdout is not None
        first = process.stdout.read(1)  # once the first byte is out, the log holds the header
        text = _text(log)
        if "Input #0, tty" in text:
            process.kill()
            raise _no_frames(path, "it is a text file; give a video")
        header = _parse_header(text) if first else None
        size = _drain(process.stdout, first, store, header, progress) if header else 0
        process.wait()
        text = _text(log)
        count = size // header.frame_bytes if header else 0
        if header is None or count == 0:
            raise _no_frames(path, f"{_reason(path, text)}; give another file")
        frames = frames_of(store, (count, *header.size, 3))
    for warning in _worth_knowing(text, header, count):
        warnings.warn(f"{path}: {warning}", DinotrackWarning, stacklevel=3)
    progress("read", count, count)
    return frames, header.fps


def write_video(path: str | Path, frames: Iterable[Frame], fps: float) -> None:
    """Write RGB frames, all of one size, as H.264 in an .mp4 that browsers play.

    The frames are never scaled. An odd side is padded by repeating its last row or column, as 4:2:0
    colour needs even ones. Raises InputError where the file can't be written.
    """
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise InputError(f"{path}: there are no frames to write")
    with replacing(path) as part, _new_log() as log:
        command = _encode_command(part, first.shape[:2], fps)
        # A broken pipe: the encoder gave up. Its exit status and log tell why.
        with (
            contextlib.suppress(BrokenPipeError),
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log
            ) as process,
        ):
            assert process.stdin is not None
            for frame in itertools.chain((first,), stream):
                process.stdin.write(_even(frame).data)
        if process.returncode:
            reason = _complaint(_text(log)) or "the encoder failed"
            raise InputError(f"{path}: the video can't be written: {reason}")


# --- commands


def _decode_command(path: Path) -> list[str]:
    """V: video streams that are no cover pictures. passthrough: every stored frame once, whatever
    its time stamp."""
    return [
        *_ffmpeg(), "-protocol_whitelist", "file", "-i", f"file:{path.absolute()}",
        "-map", "0:V:0", "-map_metadata", "-1", "-fps_mode", "passthrough",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
    ]  # fmt: skip


def _encode_command(path: Path, size: tuple[int, ...], fps: float) -> list[str]:
    """Colours are tagged, as players guess them from the frame size otherwise; the rate is a
    fraction (30000/1001)."""
    height, width = (side + side % 2 for side in size)
    rate = Fraction(fps).limit_denominator(100_000)
    return [
        *_ffmpeg(), "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{width}x{height}", "-r", str(rate), "-i", "-",
        "-vf", "scale=out_color_matrix=bt709:out_range=tv", "-pix_fmt", "yuv420p",
        "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
        "-c:v", "libx264", "-preset", "veryfast", "-crf", "18",
        "-movflags", "+faststart", "-f", "mp4", f"file:{path.absolute()}",
    ]  # fmt: skip


def _ffmpeg() -> list[str]:
    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise InputError("FFmpeg is missing; install it with pip install imageio-ffmpeg") from error
    return [program, "-hide_banner", "-nostats", "-loglevel", "level+info"]


# --- frames through the pipe


def _drain(
    pipe: IO[bytes], first: bytes, store: IO[bytes], header: "_Header", progress: Progress
) -> int:
    """Move all bytes of a pipe into a scratch file; the number of bytes.

    first: what was read from the pipe before.
    """
    size = put(store, first)
    while chunk := pipe.read(max(header.frame_bytes, 1 << 20)):
        size += put(store, chunk)
        done = size // header.frame_bytes
        progress("read", done, max(header.declared, done + 1))
    return size


def _even(frame: Frame) -> UInt8[np.ndarray, "even_H even_W 3"]:
    """The frame with its last row and column repeated where the sides are odd."""
    height, width = frame.shape[:2]
    padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded)


# --- the log


@dataclass(frozen=True)
class _Header:
    """What the log says of a stream. declared: its frames by its duration, 0 where unknown."""

    size: tuple[int, int]
    fps: float
    square: bool
    declared: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame that comes out of the pipe."""
        height, width = self.size
        return height * width * 3


def _new_log() -> IO[bytes]:
    """A file for what FFmpeg says.

    Appending, as both processes share one position and we read while FFmpeg writes.
    """
    return tempfile.TemporaryFile("a+b")


def _text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")


def _parse_header(log: str) -> _Header | None:
    """The input stream that was chosen and the frames that come out; None where FFmpeg never got
    that far."""
    size = re.search(r"Video: rawvideo\b.*?, (\d+)x(\d+)", log.partition("Output #0")[2])
    chosen = re.search(r"Stream #0:(\d+) -> #0:0", log)
    if size is None or chosen is None:
        return None
    stream = re.search(rf"^\[info\] +Stream #0:{chosen[1]}\b.*: Video: (.*)$", log, re.MULTILINE)
    facts = stream[1] if stream else ""
    rate = re.search(r" ([\d.]+) fps", facts)  # 90000 fps is written 90k fps, and is absurd
    fps = _exact_fps(float(rate[1])) if rate else DEFAULT_FPS
    aspect = re.search(r"SAR (\d+):(\d+)", facts)
    square = aspect is None or aspect[1] == aspect[2]
    declared = round(_seconds(log) * fps)
    return _Header((int(size[2]), int(size[1])), fps, square, declared)


def _seconds(log: str) -> float:
    """The duration that a file claims, in seconds; 0 where it claims none."""
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", log)
    if duration is None:
        return 0.0
    return 3600 * int(duration[1]) + 60 * int(duration[2]) + float(duration[3])


def _exact_fps(shown: float) -> float:
    """The log rounds to 0.01: 29.97 stands for 30000 / 1001."""
    if not 0 < shown <= MAX_FPS:
        return DEFAULT_FPS
    ntsc = round(shown * 1.001) * 1000 / 1001
    return ntsc if shown % 1 and abs(ntsc - shown) <= 0.005 else shown


def _worth_knowing(log: str, header: _Header, count: int) -> Iterator[str]:
    if not header.square:
        yield "its pixels are not square, and are taken as square"
    if "Reconfiguring filter graph because video parameters changed" in log:
        size = f"{header.size[1]} x {header.size[0]}"
        yield f"its frame size or format changes midway; every frame is scaled to {size}"
    if complaint := _complaint(log):
        declared = f" of about {header.declared}" if header.declared > count else ""
        yield f"the file is damaged ({complaint}); frames read: {count}{declared}"


def _no_frames(path: Path, why: str) -> InputError:
    return InputError(f"{path}: no frames can be read from it: {why}")


def _reason(path: Path, log: str) -> str:
    """Why there are no frames."""
    if path.stat().st_size == 0:
        return "it is empty"
    if "matches no streams" in log:
        return "it holds no video stream"
    return _complaint(log) or "FFmpeg decodes none"


def _complaint(log: str) -> str:
    """FFmpeg's first error, or "".

    Time stamps out of order, of which the raw output complains, are no damage.
    """
    errors = re.findall(
        r"^(?!\[rawvideo)(?:\[[^\]]*@[^\]]*\] )*\[(?:error|fatal)\] (.*)$", log, re.MULTILINE
    )
    return errors[0].strip().rstrip(".") if errors else ""
