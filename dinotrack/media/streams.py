"""What video streams a file holds, before anything of it is decoded.

FFmpeg copies all packets of a file into a list that holds numbers alone. That bounds the memory
and the disk that decoding will take, and tells which stream is the video.
"""

import contextlib
import math
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dinotrack.errors import InputError
from dinotrack.files import regular
from dinotrack.media import ffmpeg
from dinotrack.media.frames import open_scratch

CONTAINERS = (
    "3dostr 4xm alias_pix anm apng apv argo_cvg asf asf_o av1 avi avs avs2 avs3 bethsoftvid "
    "bfi bink bmp_pipe bmv brender_pix c93 cavsvideo cdxl cine cri_pipe dcstr dds_pipe derf "
    "dfa dhav dirac dnxhd dpx_pipe dsicin dv dxa ea ea_cdata evc exr_pipe film_cpk filmstrip "
    "fits flic flv frm gdv gem_pipe gif gif_pipe gxf h261 h263 h264 hdr_pipe hevc hnm hxvs "
    "ico idcin iff ifv ingenient ipmovie ipu iss iv8 ivf ivr j2k_pipe jpeg_pipe jpegls_pipe "
    "jpegxl_anim jpegxl_pipe jpegxs_pipe jv kux live_flv lmlm4 luodat lvf lxf m4v "
    "matroska,webm mgsts mjpeg mjpeg_2000 mlv mm mods moflex mov,mp4,m4a,3gp,3g2,mj2 mpeg "
    "mpegts mpegtsraw mpegvideo mpjpeg msp mtv mv mvi mxf mxg nc nsv nut nuv obu ogg paf "
    "pam_pipe pbm_pipe pcx_pipe pdv pfm_pipe pgm_pipe pgmyuv_pipe pgx_pipe phm_pipe "
    "photocd_pipe pictor_pipe pmp png_pipe ppm_pipe psd_pipe psxstr pva qdraw_pipe qoi_pipe "
    "r3d rl2 rm roq rpl sdr2 ser sga sgi_pipe siff simbiosis_imx smjpeg smk smush "
    "sunrast_pipe swf thp tiertexseq tiff_pipe tmv txd ty usm vbn_pipe vc1 vc1test vividas "
    "vivo vmd vvc wc3movie webp_anim webp_pipe wsvqa wtv xbm_pipe xmv xpm_pipe xwd_pipe yop "
    "yuv4mpegpipe image2"
).replace(" ", ",")
"""FFmpeg's readers of files that hold their video themselves.

It has others, which open what a file points to (playlists, manifests, scripts), wait for a camera
or a network, or draw a text file as a video. A file that asks for one of these is refused.
"""
PATTERN = frozenset("%*?[]{}")
"""With these, the name of a picture is one pattern for the names of many to FFmpeg."""

HELD = 10
"""Frames that FFmpeg may hold at once, of PIXEL bytes a pixel."""
PIXEL = 4
MOST_PIXELS = 1 << 30
"""Of all the frames that it holds: they take 4.3 GB."""
LONGEST_SIDE = 1 << 16
PATIENCE = 10
"""Seconds of CPU time that FFmpeg gets besides those for what a file holds.

Some damaged files never end for it. It then would go on for ever, even without us.
"""
COMPLAINTS = {
    "Error opening input": "it is no video, or its beginning is damaged",
    "moov atom not found": "it is no video of its kind, or was cut off (moov atom not found)",
}
"""What FFmpeg says of files that are no videos at all, in words for those who don't know it."""
BYTES_A_SECOND = 5_000_000
"""That FFmpeg lists at the least, on a slow machine."""


@dataclass(frozen=True)
class Stream:
    """One video stream of a file, cover pictures not counted.

    number: among these. tick: seconds of one step of its time stamps. size: (H, W) as it is stored,
    (0, 0) where that shows in decoding alone. square: whether its pixels are. packets: about as
    many as it has frames. seconds: how long it lasts.
    """

    number: int
    tick: Fraction
    size: tuple[int, int]
    square: bool
    packets: int
    seconds: Fraction

    @property
    def patience(self) -> int:
        """Seconds of CPU time after which FFmpeg comes to no end with it: some for each frame."""
        height, width = self.size
        return PATIENCE + math.ceil(self.packets * (1 + height * width / 1e6))

    @property
    def held(self) -> int:
        """How many frames FFmpeg holds at once."""
        return max(1, min(self.packets, HELD))

    @property
    def most_pixels(self) -> int:
        """How large a frame may be."""
        return MOST_PIXELS // self.held


@contextlib.contextmanager
def opening(path: Path) -> Iterator[tuple[list[str], Path]]:
    """How FFmpeg is told to open a file, and the folder it does so in.

    The file is opened as itself, and by a reader that opens no other. One whose name is a pattern
    goes by another name for as long as the block lasts.
    """
    reader = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    path = path.absolute()
    if PATTERN.isdisjoint(path.name):
        yield [*reader, "-i", f"file:{path.name}"], path.parent
        return
    suffix = path.suffix if path.suffix[1:].isalnum() else ""
    try:
        folder = tempfile.TemporaryDirectory()
        (Path(folder.name) / f"video{suffix}").symlink_to(path)
    except OSError as error:
        raise InputError(f"{path}: can't be opened by this name; rename the file") from error
    with folder:
        yield [*reader, "-i", f"file:video{suffix}"], Path(folder.name)


def streams_of(path: Path) -> list[Stream]:
    """The video streams of a file, of which at least one holds something.

    Raises InputError where there is none, and for what is no regular file.
    """
    _check_file(path)
    copied = ("-map", "0:V", "-c", "copy", "-f", "framecrc", "-")
    with opening(path) as (opened, folder), open_scratch() as log:
        patience = PATIENCE + path.stat().st_size // BYTES_A_SECOND
        limits = ("-timelimit", str(patience), "-max_pixels", str(MOST_PIXELS))
        arguments = [*limits, *opened, *copied]
        with ffmpeg.running(arguments, log, cwd=folder) as process:
            assert process.stdout is not None
            streams = _listed(line.decode(errors="replace") for line in process.stdout)
            status = process.wait()
        if status < 0:
            raise ended(path, status)
        if not any(stream.packets for stream in streams):
            raise no_frames(path, _reason(path, ffmpeg.said(log)))
    return streams


def no_frames(path: Path, why: str) -> InputError:
    """The error for a file without any frame."""
    ffmpeg.check()
    return InputError(f"{path}: no frames can be read from it: {why}; give another file")


def ended(path: Path, status: int, frames: int = 0) -> InputError:
    """The error for a file during which FFmpeg ended before its time."""
    how = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
    return InputError(
        f"{path}: FFmpeg {how} after {frames} frames, so the video is not whole; "
        "look for what ended it (too little memory, or damage without end?) and run again"
    )


@dataclass
class _Span:
    """From the first to the last packet of a stream, in ticks."""

    first: int = 0
    last: int = 0
    duration: int = 0
    """Of the first one; those of others may be in another order than they are shown in."""
    packets: int = 0

    @property
    def ticks(self) -> Fraction:
        """How long they last."""
        if self.packets < 2:
            return Fraction(self.duration * self.packets)
        return Fraction((self.last - self.first) * self.packets, self.packets - 1)


def _listed(lines: Iterable[str]) -> list[Stream]:
    """The streams of a list of packets."""
    facts: dict[tuple[str, int], str] = {}
    spans: dict[int, _Span] = {}
    for line in lines:
        if head := re.match(r"#(tb|dimensions|sar) (\d+): (\S+)\s*\n", line):
            facts[head[1], int(head[2])] = head[3]
        elif packet := re.match(r"(\d+), *[^,]+, *(-?\d+), *(-?\d+),", line):
            number, start, duration = (int(part) for part in packet.groups())
            span = spans.setdefault(number, _Span(start, start, duration))
            span.packets += 1
            span.first = min(span.first, start)
            span.last = max(span.last, start)
    numbers = sorted({number for _, number in facts})
    streams = (_stream(number, facts, spans.get(number, _Span())) for number in numbers)
    return [stream for stream in streams if stream is not None]


def _stream(number: int, facts: dict[tuple[str, int], str], span: _Span) -> Stream | None:
    """One stream; None where the list was cut off while it was described."""
    tick = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", facts.get(("tb", number), ""))
    sides = re.fullmatch(r"(\d+)x(\d+)", facts.get(("dimensions", number), ""))
    if tick is None or sides is None:
        return None
    seconds = Fraction(int(tick[1]), int(tick[2]))
    across, _, down = facts.get(("sar", number), "0/1").partition("/")
    size, square = (int(sides[2]), int(sides[1])), across in ("0", down)
    return Stream(number, seconds, size, square, span.packets, span.ticks * seconds)


def _check_file(path: Path) -> None:
    if regular(path).stat().st_size == 0:
        raise no_frames(path, "it is empty")


def _reason(path: Path, text: str) -> str:
    """Why FFmpeg found no video stream in a file."""
    with path.open("rb") as file:
        start = file.read(4096)
    if b"\0" not in start:
        return "it is a text file, a playlist or a script, and not a video"
    if "Format not on whitelist" in text:
        return "it is of no kind that holds a video itself"
    if "matches no streams" in text:
        return "it holds no video stream"
    said = ffmpeg.complaint(text)
    known = (words for sign, words in COMPLAINTS.items() if said.startswith(sign))
    return next(known, said or "FFmpeg decodes none")
