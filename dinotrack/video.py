"""Pictures in and out: read any video whole, resize it, write one that browsers play.

FFmpeg (imageio's binary) does the decoding, not OpenCV: it reads AV1 and HDR rightly, goes on after
a damaged packet, and its log says what is wrong with a file. On sound 8-bit files both give the
same bytes.
"""

import contextlib
import hashlib
import itertools
import math
import mmap
import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import cv2
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dinotrack.config import VideoConfig
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.files import replacing
from dinotrack.progress import Progress, silent

Frames = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
DEFAULT_FPS = 24.0
MAX_FPS = 1000.0  # more than that is a broken header


@dataclass(frozen=True)
class Video:
    """A video that can be looked at anywhere. One read from a file lies on disk, in a file without
    a name.

    frames: uint8 [T, H, W, 3] RGB; fps: frames a second; name: of its file or folder; path: where
    that is, "": nowhere.
    """

    frames: Frames
    fps: float
    name: str
    path: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.frames.shape[1], self.frames.shape[2]


Source = str | Path | Frames | Video
"""What can be tracked: a file, a folder of images, uint8 RGB [T, H, W, 3], or a video already
read."""


def read_video(source: Source, progress: Progress = silent) -> Video:
    """All frames of the first video stream as stored, in presentation order, none dropped or
    repeated, turned upright.

    source: any file FFmpeg reads, GIF too; a folder of images of one size, in natural order; or RGB
    uint8 [T, H, W, 3].
    24 frames a second where the file says nothing sensible. Warns (DinotrackWarning) of damage, of
    pixels that are not square, of a frame size that changes. Raises InputError where no frame can
    be read.
    """
    if isinstance(source, Video):
        return source
    if isinstance(source, np.ndarray):
        return Video(_check_frames(source), DEFAULT_FPS, "array")
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, progress)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    return _read_file(path, progress)


def content_hash(video: Video) -> str:
    """sha256 (hex) of the frames and their shape, whatever the file they came from."""
    digest = hashlib.sha256(repr(video.frames.shape).encode())
    for frame in each_frame(video.frames):
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def one_frame(frames: Frames, t: int) -> Frames:
    """Frame t of frames [T, H, W, 3].

    Where they lie on disk, it is a copy, and nothing of them is left in memory.
    """
    frame: Frames = frames[t]
    mapping = _mapping(frames)
    if mapping is None:
        return frame
    frame = frame.copy()
    if hasattr(
        mmap, "MADV_DONTNEED"
    ):  # systems without it drop what they like when memory gets short
        mapping.madvise(mmap.MADV_DONTNEED)
    return frame


def each_frame(frames: Frames) -> Iterator[Frames]:
    """`one_frame` after the other."""
    return (one_frame(frames, t) for t in range(len(frames)))


def working_size(size: tuple[int, int], config: VideoConfig) -> tuple[int, int]:
    """(H, W) of the working frame for a video of size (H, W).

    Sides are multiples of config.multiple and at least config.min_side; a side fixed in the config
    is taken as it is.
    Otherwise at most config.area pixels, enlarged only for the sake of the shorter side, and of the
    sizes nearest to that the one that keeps the aspect best.
    """
    height, width = size
    multiple = config.multiple
    least = multiple * math.ceil(config.min_side / multiple)
    if config.height or config.width:
        scale = config.height / height or config.width / width
        free = [max(least, multiple * round(side * scale / multiple)) for side in size]
        return config.height or free[0], config.width or free[1]
    short = min(size)
    scale = max(min(1.0, math.sqrt(config.area / (height * width))), least / short)
    longest = config.area / least
    cells = [min(side * scale, longest) / multiple for side in size]
    options = [
        {max(least, multiple * whole) for whole in (math.floor(c), math.ceil(c))} for c in cells
    ]
    fits = [
        (h, w)
        for h, w in itertools.product(*options)
        if h * w <= config.area and max(h / height, w / width) <= max(1.0, least / short)
    ]
    return min(
        fits,
        key=lambda s: (abs(math.log(s[0] * width / (s[1] * height))), -s[0] * s[1]),
        default=(least, least),
    )


def resize(frames: Frames, size: tuple[int, int], method: str) -> Tensor:
    """frames [T, H, W, 3] -> uint8 [T, 3, h, w] for size = (h, w), a view of channels-last memory.

    method: "area" averages what a new pixel covers (linear where it enlarges); "lanczos" is
    Pillow's, as in the paper.
    """
    resized = Resized(frames, size, method)
    out = torch.empty(len(frames), *size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    for t in range(len(frames)):
        out[t] = resized[t]
    return out


@dataclass(frozen=True)
class Resized:
    """Frames at another size, made when they are asked for. frames, size, method: as in
    `resize`."""

    frames: Frames
    size: tuple[int, int]
    method: str

    def __post_init__(self) -> None:
        if self.method not in ("area", "lanczos"):
            raise InputError(f"unknown resize method {self.method!r}; choose area or lanczos")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, t: int) -> Tensor:
        """Frame t: uint8 [3, h, w]."""
        frame, (height, width) = one_frame(self.frames, t), self.size
        if self.method == "lanczos":
            picture = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        shrinks = height <= frame.shape[0] and width <= frame.shape[1]
        small = cv2.resize(
            frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        return torch.from_numpy(small).permute(2, 0, 1)


def write_video(path: str | Path, frames: Iterable[Frames], fps: float) -> None:
    """Write uint8 RGB frames [H, W, 3], all of one size, as H.264 that browsers play; never scaled.

    An odd side is padded by repeating its last row or column, as 4:2:0 colour needs even ones.
    Raises InputError where the file can't be written.
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
            raise InputError(
                f"{path}: the video can't be written: {_complaint(_text(log)) or 'the encoder failed'}"
            )


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sorts frame2 before frame10."""
    return [
        (int(run), "") if run.isdigit() else (0, run)
        for run in re.split(r"([0-9]+)", path.name.lower())
    ]


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder in natural order; hidden and other files are passed over."""
    names = (
        p
        for p in folder.iterdir()
        if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
    )
    return sorted(names, key=natural_key)


def _check_frames(frames: Frames) -> Frames:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise InputError(
            f"a video array is uint8 RGB [T, H, W, 3] and not empty, not {frames.dtype} {list(frames.shape)}"
        )
    return frames


def _read_folder(folder: Path, progress: Progress) -> Video:
    """Images that can't be decoded are named in a warning and left out."""
    files = images_in(folder)
    shape: tuple[int, ...] = ()
    count = 0
    with _scratch() as store:
        for done, file in enumerate(files, 1):
            image = _read_image(file)
            if image is not None:
                shape = shape or image.shape
                if image.shape != shape:
                    sizes = f"{image.shape[1]} x {image.shape[0]}, the ones before it {shape[1]} x {shape[0]}"
                    raise InputError(f"{file}: is {sizes}; all images of a video need one size")
                _put(store, np.ascontiguousarray(image).data)
                count += 1
            progress("read", done, len(files))
        if not count:
            raise InputError(
                f"{folder}: holds no image that can be read; give a video file or a folder of jpg or png frames"
            )
        frames = _mapped(store, (count, *shape))
    return Video(frames, DEFAULT_FPS, folder.resolve().name, str(folder.resolve()))


def _read_image(file: Path) -> Frames | None:
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):  # Pillow would clip 16-bit greys at 255
                return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
            return np.asarray(image.convert("RGB"))
    except (
        OSError,
        SyntaxError,
        ValueError,
    ) as error:  # Pillow's ways to say that a file is damaged
        warnings.warn(f"{file}: damaged image left out ({error})", DinotrackWarning, stacklevel=4)
        return None


@dataclass(frozen=True)
class _Header:
    """What FFmpeg's log says of a stream. declared: frames by its duration, 0 where unknown."""

    size: tuple[int, int]
    fps: float
    square: bool
    declared: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame that comes out."""
        return self.size[0] * self.size[1] * 3


def _read_file(path: Path, progress: Progress) -> Video:
    with (
        _scratch() as store,
        _new_log() as log,
        subprocess.Popen(
            _decode_command(path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdout is not None
        start = process.stdout.read(1)  # once the first byte is out, the log holds the header
        text = _text(log)
        if "Input #0, tty" in text:
            process.kill()
            raise InputError(
                f"{path}: no frames can be read from it: it is a text file; give a video"
            )
        header = _parse_header(text) if start else None
        size = _drain(process.stdout, start, store, header, progress) if header else 0
        process.wait()
        text = _text(log)
        count = size // header.frame_bytes if header else 0
        if header is None or count == 0:
            raise InputError(
                f"{path}: no frames can be read from it: {_reason(path, text)}; give another file"
            )
        frames = _mapped(store, (count, *header.size, 3))
    for warning in _worth_knowing(text, header, count):
        warnings.warn(f"{path}: {warning}", DinotrackWarning, stacklevel=3)
    progress("read", count, count)
    return Video(frames, header.fps, path.stem, str(path.resolve()))


def _decode_command(path: Path) -> list[str]:
    """V: video streams that are no cover pictures. passthrough: every stored frame once, whatever
    its time stamp."""
    return [
        *_ffmpeg(), "-protocol_whitelist", "file", "-i", f"file:{path.absolute()}", "-map", "0:V:0",
        "-map_metadata", "-1", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
    ]  # fmt: skip


def _encode_command(path: Path, size: tuple[int, ...], fps: float) -> list[str]:
    """Colours are tagged, as players guess them from the frame size otherwise; the rate is a
    fraction (30000/1001)."""
    height, width = (side + side % 2 for side in size)
    rate = Fraction(fps).limit_denominator(100_000)
    return [
        *_ffmpeg(), "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "-",
        "-vf", "scale=out_color_matrix=bt709:out_range=tv", "-pix_fmt", "yuv420p",
        "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
        "-c:v", "libx264", "-preset", "veryfast", "-crf", "18",
        "-movflags", "+faststart", "-f", "mp4", f"file:{path.absolute()}",
    ]  # fmt: skip


def _ffmpeg() -> list[str]:
    try:
        return [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-hide_banner",
            "-nostats",
            "-loglevel",
            "level+info",
        ]
    except RuntimeError as error:
        raise InputError("FFmpeg is missing; install it with pip install imageio-ffmpeg") from error


def _drain(
    pipe: IO[bytes], start: bytes, store: IO[bytes], header: _Header, progress: Progress
) -> int:
    """Move all bytes of a pipe, after those read from it at the start, into a file; how many there
    are."""
    size = _put(store, start)
    while chunk := pipe.read(max(header.frame_bytes, 1 << 20)):
        size += _put(store, chunk)
        done = size // header.frame_bytes
        progress("read", done, max(header.declared, done + 1))
    return size


def _scratch() -> IO[bytes]:
    """A file without a name, gone when nobody looks at it any more. /tmp may lie in memory,
    /var/tmp never does."""
    folder = "/var/tmp" if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK) else None
    return tempfile.TemporaryFile(dir=folder)


def _put(store: IO[bytes], data: bytes | memoryview) -> int:
    """Append to a scratch file; the number of bytes. Raises InputError where the disk is full."""
    try:
        return store.write(data)
    except OSError as error:
        raise InputError(
            f"the video's frames can't be put aside ({error.strerror or error}); set TMPDIR to a folder with room"
        ) from error


def _mapped(store: IO[bytes], shape: tuple[int, ...]) -> Frames:
    """The content of a scratch file as an array, read from it where it is looked at."""
    store.flush()
    mapping = mmap.mmap(store.fileno(), math.prod(shape))
    return np.frombuffer(mapping, np.uint8).reshape(shape)


def _mapping(frames: Frames) -> mmap.mmap | None:
    """The file that frames lie in, if they do."""
    owner: Any = frames
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    return owner if isinstance(owner, mmap.mmap) else None


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
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", log)
    seconds = (
        3600 * int(duration[1]) + 60 * int(duration[2]) + float(duration[3]) if duration else 0.0
    )
    square = aspect is None or aspect[1] == aspect[2]
    return _Header((int(size[2]), int(size[1])), fps, square, round(seconds * fps))


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
        yield f"its frame size or format changes midway; every frame is scaled to {header.size[1]} x {header.size[0]}"
    if complaint := _complaint(log):
        declared = f" of about {header.declared}" if header.declared > count else ""
        yield f"the file is damaged ({complaint}); frames read: {count}{declared}"


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


def _new_log() -> IO[bytes]:
    """For FFmpeg's stderr.

    Appending, as both processes share one position and we read while it writes.
    """
    return tempfile.TemporaryFile("a+b")


def _text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")


def _even(frame: Frames) -> Frames:
    height, width = frame.shape[:2]
    return np.ascontiguousarray(
        np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    )
