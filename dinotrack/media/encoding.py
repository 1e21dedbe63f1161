"""Videos that browsers play, encoded by FFmpeg: H.264 in an .mp4."""

import contextlib
import itertools
import math
import subprocess
import warnings
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.files import replacing
from dinotrack.media import ffmpeg, matroska
from dinotrack.media.frames import Frame, open_scratch
from dinotrack.media.rates import MAX_FPS, is_writable

Chunk = bytes | memoryview
ENCODER = "libx264"
LONGEST_SIDE = 16_384
"""Pixels; x264 writes no more."""
MOST_PIXELS = 1 << 25
"""More than 8192 x 4096 is played nowhere, and would take gigabytes to encode."""
TICKS = 1_000_000
"""Steps a second of uneven times."""
LONG = 1000.0
"""Seconds between two frames: an .mp4 counts its steps in 32 bits, so those must be longer then."""
SLOW_TICKS = 10_000
LOSS = 18
"""x264's crf, by which a picture looks as it was."""
LIMIT = 100_000
"""Of the denominators of rates and of seconds a frame."""


def check_writable(size: tuple[int, int], fps: float) -> None:
    """See whether `write_video` can write frames of a size (H, W) at a rate; for use before a fit.

    Raises InputError where it can't. Warns where the picture will have to be smaller.
    """
    _check_rate(fps)
    ffmpeg.check(ENCODER)
    height, width = _written(size)
    if (height, width) != _even(size):
        warnings.warn(
            f"the overlay will be {width} x {height}, as an .mp4 has no room for "
            f"{size[1]} x {size[0]}; tracks keep the pixels of the video",
            DinotrackWarning,
            stacklevel=3,
        )


def write_video(
    path: str | Path,
    frames: Iterable[Frame],
    fps: float,
    uneven_times: Float[np.ndarray, " T"] | None = None,
    loss: int = LOSS,
) -> None:
    """Write RGB frames, all of one size, as H.264 in an .mp4 that browsers play.

    The frames are not scaled, unless they are larger than H.264 can hold. An odd side is padded by
    repeating its last row or column, as 4:2:0 colour needs even ones.

    fps: frames a second. uneven_times: when each frame is shown, in seconds from the first one, in
    ascending order; then the rate is their mean, and the last frame is shown as long as the one
    before it. loss: x264's crf, more is smaller and worse. Raises InputError where the file can't
    be written.
    """
    _check_rate(fps)
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise InputError(f"{path}: there are no frames to write")
    size = first.shape[:2]
    chunks = (_padded(frame).data for frame in itertools.chain((first,), stream))
    with replacing(path) as part:
        look = [*_look(size, loss), f"file:{part.absolute()}"]
        if uneven_times is None or len(uneven_times) < 2:
            _encode(path, [*_raw(_even(size), fps), *look], chunks)
        else:
            timed = matroska.packed(chunks, _even(size), uneven_times)
            _encode(path, [*_timed(uneven_times), *look], timed)


def _encode(path: str | Path, arguments: list[str], chunks: Iterable[Chunk]) -> None:
    """Hand all chunks to FFmpeg. It is ended by what raises while they are made."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with open_scratch() as log:
        with ffmpeg.running(["-y", *arguments], log, **pipes) as process:
            assert process.stdin is not None
            whole = True
            for chunk in chunks:
                try:
                    process.stdin.write(chunk)
                except OSError:  # FFmpeg gave up; its status and its log tell why
                    whole = False
                    break
            with contextlib.suppress(OSError):
                process.stdin.close()
            status = process.wait()
        if status or not whole:
            ffmpeg.check(ENCODER)
            said = ffmpeg.complaint(ffmpeg.said(log))
            reason = said or f"FFmpeg was ended (status {status}); run again"
            raise InputError(f"{path}: the video can't be written: {reason}")


# --- what FFmpeg is told


def _raw(size: tuple[int, int], fps: float) -> list[str]:
    """Frames that follow each other evenly. The rate is a fraction, as 30000/1001."""
    rate = Fraction(fps) if fps >= 1 else 1 / Fraction(1 / fps).limit_denominator(LIMIT)
    height, width = size
    shape = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}")
    ticks = ("-video_track_timescale", str(SLOW_TICKS)) if fps * LONG < 1 else ()
    return [*shape, "-r", str(rate.limit_denominator(LIMIT)), "-i", "-", *ticks]


def _timed(times: Float[np.ndarray, " T"]) -> list[str]:
    """Frames with times of their own.

    None of them is predicted from a later one, as an .mp4 then has no way to tell their lengths.
    """
    ticks = TICKS if np.diff(times).max() < LONG else SLOW_TICKS
    exact = ("-fps_mode", "passthrough", "-enc_time_base", f"1:{ticks}")
    return ["-f", "matroska", "-i", "-", "-bf", "0", *exact, "-video_track_timescale", str(ticks)]


def _look(size: tuple[int, ...], loss: int) -> list[str]:
    """Colours are tagged, as players guess them from the frame size otherwise."""
    written = _written(size)
    fitted = f"{written[1]}:{written[0]}:" if written != _even(size) else ""
    return [
        "-vf", f"scale={fitted}out_color_matrix=bt709:out_range=tv", "-pix_fmt", "yuv420p",
        "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
        "-c:v", ENCODER, "-preset", "veryfast", "-crf", str(loss),
        "-movflags", "+faststart", "-f", "mp4",
    ]  # fmt: skip


def _check_rate(fps: float) -> None:
    if not is_writable(fps):
        raise InputError(
            f"a video can't be written at {fps:g} frames a second; "
            f"give a rate from one a day to {MAX_FPS:g} a second"
        )


# --- sizes


def _even(size: tuple[int, ...]) -> tuple[int, int]:
    height, width = size
    return height + height % 2, width + width % 2


def _written(size: tuple[int, ...]) -> tuple[int, int]:
    """The size of the written picture, of even sides: that of the frames, or what fits."""
    height, width = _even(size)
    room = min(1.0, LONGEST_SIDE / max(height, width), math.sqrt(MOST_PIXELS / (height * width)))
    if room == 1:
        return height, width
    return max(2, int(height * room) // 2 * 2), max(2, int(width * room) // 2 * 2)


def _padded(frame: Frame) -> UInt8[np.ndarray, "even_H even_W 3"]:
    """The frame with its last row and column repeated where the sides are odd."""
    height, width = frame.shape[:2]
    padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded)
