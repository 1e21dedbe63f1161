"""All frames of a video file, decoded by FFmpeg onto the disk.

Frames come through a pipe, as raw bytes, and their time stamps through a second one, as numbers.
What the first frame looks like is said by FFmpeg's filter showinfo. It says so in the log, but
under a name that we make up for each run, so that no text in a file can pass for it.
"""

import os
import re
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.media import ffmpeg
from dinotrack.media.deep import RGB, Layout, layout_of, to_rgb
from dinotrack.media.frames import Frames, frames_of, in_words, open_scratch, put
from dinotrack.media.rates import Pace, pace_of
from dinotrack.media.streams import (
    LONGEST_SIDE,
    PIXEL,
    Stream,
    ended,
    no_frames,
    opening,
    streams_of,
)
from dinotrack.progress import Progress

HD = 720
"""Lines from which on players take colours without a tag for those of BT.709, below for BT.601."""
SCALING = "bicubic+accurate_rnd"
"""How colours become RGB: the same on every CPU, where FFmpeg's default differs by some levels."""
SIGHTS = re.compile(r"n: *\d+ .*?fmt:(\S+) .*?s:(\d+)x(\d+) ")
"""What showinfo says of a frame: its format, its width and its height."""
TRIES = 8
"""How often FFmpeg is started, at most, where its threads write into each other's lines. They do
so seldom, and on busy machines."""


@dataclass(frozen=True)
class Decoded:
    """The frames of a file, on disk, and when they are shown.

    fps: frames a second, the mean where the rate varies. uneven_times: seconds from the first frame
    where the rate varies; None where frame t is shown at t / fps.
    """

    frames: Frames
    fps: float
    uneven_times: Float[np.ndarray, " T"] | None


def decode(path: Path, progress: Progress) -> Decoded:
    """All frames of a file's first video stream, or of its longest where the first is a still.

    Warnings and errors are those of `read_video`, which alone calls this.
    """
    streams = streams_of(path)
    stream = _chosen(streams)
    _check_size(path, stream)
    progress("read", 0, stream.packets)
    height, width = stream.size
    with open_scratch(stream.packets * height * width * 3, str(path)) as store:
        run = _run(path, stream, _Recipe(), store, progress)
        shape = (run.count, *run.size)
        told = list(_worth_knowing(run, stream, streams))
        if run.recipe.layout == RGB:
            frames = frames_of(store, (*shape, 3))
        else:
            frames, how = to_rgb(store, shape, run.recipe.layout)
            told += [how] if how else []
    pace = _pace(run, stream)
    told += [pace.warning] if pace.warning else []
    for warning in told:
        warnings.warn(f"{path}: {warning}", DinotrackWarning, stacklevel=3)
    progress("read", run.count, run.count)
    return Decoded(frames, pace.fps, pace.uneven_times)


# --- which stream, and whether it fits


def _chosen(streams: list[Stream]) -> Stream:
    """The first stream, unless that is a still and another one is not."""
    if streams[0].packets > 1:
        return streams[0]
    return max(streams, key=lambda stream: stream.packets)


def _check_size(path: Path, stream: Stream) -> None:
    height, width = stream.size
    pixels = height * width
    if max(height, width) > LONGEST_SIDE or pixels > stream.most_pixels:
        memory, disk = PIXEL * stream.held * pixels, 3 * stream.packets * pixels
        raise InputError(
            f"{path}: {stream.packets} frames of {width} x {height} would take "
            f"{in_words(memory)} of memory and {in_words(disk)} of disk, which is too much (at "
            f"most {stream.most_pixels / 1e6:.0f} million pixels a frame, and {LONGEST_SIDE} a "
            "side); make the frames smaller"
        )


# --- one run of FFmpeg


@dataclass(frozen=True)
class _Recipe:
    """How frames are to be handed over. bt709: whether colours are of BT.709 though no tag says
    so."""

    layout: Layout = RGB
    bt709: bool = False


@dataclass(frozen=True)
class _Run:
    """What came of decoding. size: (H, W). sights: the formats and sizes that frames had in the
    file. claimed: frames a second that the file claims. declared: the seconds that it
    claims to last."""

    recipe: _Recipe
    count: int
    size: tuple[int, int]
    sights: frozenset[tuple[str, ...]]
    claimed: Fraction | None
    stamps: list[int]
    complaint: str
    declared: float


def _run(
    path: Path,
    stream: Stream,
    recipe: _Recipe,
    store: IO[bytes],
    progress: Progress,
    tries: int = TRIES,
) -> _Run:
    """Decode all frames into a scratch file; by another recipe, if the first frame asks for it.

    tries: how many starts are left for a log in which the first frame's line can be read.
    """
    mark = f"showinfo@{secrets.token_hex(8)}"
    with opening(path) as (opened, folder), open_scratch() as log, open_scratch() as listing:
        listed, pipes = _listing(stream, listing)
        command = [*_command(opened, stream, recipe, mark), *listed]
        with ffmpeg.running(command, log, "info", cwd=folder, pass_fds=pipes) as process:
            assert process.stdout is not None
            start = process.stdout.read(1)  # once it is out, the first frame has been described
            seen = _marked(ffmpeg.said(log), mark)
            wanted, size = _first_frame(seen, stream) if start else (recipe, (0, 0))
            if wanted == recipe:
                written = put(store, start)
                frame_bytes = recipe.layout.frame_bytes(size)
                while start and (chunk := process.stdout.read(max(frame_bytes, 1 << 20))):
                    written += put(store, chunk)
                    done = written // frame_bytes
                    progress("read", done, max(stream.packets, done + 1))
                status = process.wait()
        if wanted is None:
            if tries == 1:
                raise InputError(f"{path}: FFmpeg does not say what its first frame looks like")
            return _run(path, stream, recipe, store, progress, tries - 1)
        if wanted != recipe:
            return _run(path, stream, wanted, store, progress)
        text = ffmpeg.said(log)
        count, rest = divmod(written, frame_bytes) if start else (0, 0)
        complaint = ffmpeg.complaint(_trusted(text, mark))
        if status < 0 or rest or (status and count):
            raise ended(path, status, count)
        if count == 0:
            raise no_frames(path, complaint or "FFmpeg decodes none")
        seen = _marked(text, mark)
        sights = frozenset(m.groups() for line in seen if (m := SIGHTS.match(line)))
        stamps = _stamps(listing)
        return _Run(recipe, count, size, sights, _claimed(seen), stamps, complaint, _duration(text))


def _command(opened: list[str], stream: Stream, recipe: _Recipe, mark: str) -> list[str]:
    """Frames, by standard output."""
    filters = f"{mark}=checksum=0" + (",setparams=colorspace=bt709" if recipe.bt709 else "")
    return [
        "-timelimit", str(stream.patience), "-max_pixels", str(stream.most_pixels),
        *opened, "-max_error_rate", "1",
        *_chosen_alone(stream), "-vf", filters, "-sws_flags", SCALING,
        "-f", "rawvideo", "-pix_fmt", recipe.layout.name, "pipe:1",
    ]  # fmt: skip


def _listing(stream: Stream, listing: IO[bytes]) -> tuple[list[str], tuple[int, ...]]:
    """The time stamps of the same frames, by a further pipe, which leads into a file."""
    if os.name == "nt":  # there a child gets no further pipe; the claimed rate must do
        return [], ()
    pipe = listing.fileno()
    tick = f"{stream.tick.numerator}:{stream.tick.denominator}"
    exact = ("-enc_time_base", tick, "-c:v", "wrapped_avframe", "-f", "framecrc")
    return [*_chosen_alone(stream), *exact, f"pipe:{pipe}"], (pipe,)


def _chosen_alone(stream: Stream) -> list[str]:
    """One stream, without its texts. passthrough: every stored frame once, whatever its time
    stamp."""
    return [
        "-map", f"0:V:{stream.number}", "-map_metadata", "-1", "-map_chapters", "-1",
        "-fps_mode", "passthrough",
    ]  # fmt: skip


def _stamps(listing: IO[bytes]) -> list[int]:
    """The time stamps of all frames, in ticks, in the order they are shown."""
    listing.seek(0)
    lines = (line.split(b",") for line in listing if line[:1].isdigit())
    return [int(parts[2]) for parts in lines if len(parts) > 2 and parts[2].strip(b" -").isdigit()]


# --- what FFmpeg says


def _marked(text: str, mark: str) -> list[str]:
    """What our own filter said, line by line."""
    said = rf"^\[{mark} @ [^\]]*\] \[info\] (.*)$"
    return re.findall(said, text, re.MULTILINE)


def _trusted(text: str, mark: str) -> str:
    """A log without the part that describes the file, into which the file can write any line.

    FFmpeg describes it once it has opened it, and then says how streams are mapped.
    """
    before, _, described = f"\n{text}".partition("\n[info] Input #0, ")
    head, _, rest = described.partition(f"\n[{mark} @ ")
    mapped = head.rpartition("\n[info] Stream mapping:")[2]
    return "\n".join((before, mapped, rest))


def _first_frame(seen: list[str], stream: Stream) -> tuple[_Recipe | None, tuple[int, int]]:
    """The recipe that the first frame asks for, and its size (H, W); None where a line is lost.

    FFmpeg writes a line in pieces, and its threads may write between them: then a line of ours
    begins inside of another one, without our name before it.
    """
    sight = next((match for line in seen if (match := SIGHTS.match(line))), None)
    spaces = (re.search(r"color_space:(\S+)", line) for line in seen)
    space = next((found[1] for found in spaces if found), None)
    configured = any(line.startswith("config in ") for line in seen)
    if sight is None or space is None or not configured:
        return None, (0, 0)
    kind = sight[1]
    coded = re.match(r"yuv|nv\d|p[024]\d\d|uyvy|yuyv|yvyu|y2\d\d|xv\d|vuy|ayuv", kind)
    untagged = bool(coded) and space == "unknown" and stream.size[0] >= HD
    return _Recipe(layout_of(kind), untagged), (int(sight[3]), int(sight[2]))


def _claimed(seen: list[str]) -> Fraction | None:
    """Frames a second, as the container claims."""
    rates = (re.search(r"^config in .*frame_rate: (\d+)/(\d+)", line) for line in seen)
    rate = next((found for found in rates if found), None)
    if rate is None or "0" in rate.groups():
        return None
    return Fraction(int(rate[1]), int(rate[2]))


def _duration(text: str) -> float:
    """The seconds that a file claims to last, 0 where it claims none or more than one number.

    Damaged files are told of what is missing by it; nothing else is.
    """
    line = r"^\[info\]   Duration: (\d+):(\d\d):(\d\d\.\d\d), start: [-.\d]+, bitrate: [^,]*$"
    found = set(re.findall(line, text, re.MULTILINE))
    if len(found) != 1:
        return 0.0
    hours, minutes, seconds = found.pop()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _pace(run: _Run, stream: Stream) -> Pace:
    if run.count == 1 and stream.seconds > 0:
        return pace_of([], stream.tick, stream.packets / stream.seconds, 1)
    return pace_of(run.stamps, stream.tick, run.claimed, run.count)


def _worth_knowing(run: _Run, stream: Stream, streams: list[Stream]) -> Iterator[str]:
    if not stream.square:
        yield "its pixels are not square, and are taken as square"
    if len(run.sights) > 1:
        size = f"{run.size[1]} x {run.size[0]}"
        yield f"its frame size or format changes midway; every frame is scaled to {size}"
    if run.complaint:
        claimed = round(run.declared * float(run.claimed or 0))
        declared = max(claimed, stream.packets)
        of_all = f" of about {declared}" if declared > run.count else ""
        yield f"the file is damaged ({run.complaint}); frames read: {run.count}{of_all}"
    moving = [other for other in streams if other.packets > 1] or streams  # stills claim any time
    longest = max(moving, key=lambda other: other.seconds)
    if longest.seconds > stream.seconds + 2 * stream.seconds / max(stream.packets, 1):
        yield (
            f"of its {len(streams)} video streams number {stream.number + 1} is taken "
            f"({float(stream.seconds):.3g} s), though number {longest.number + 1} is longer "
            f"({float(longest.seconds):.3g} s)"
        )
