"""Any video in, whole: a file, a folder of images, or an array.

Frames of files and folders lie on disk (`dinotrack.frames`), so a video may be larger than memory.
"""

import hashlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from PIL import Image, ImageOps

from dinotrack.decoding import decode
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.frames import Frame, Frames, each_frame, frames_of, open_scratch, put
from dinotrack.progress import Progress, silent
from dinotrack.rates import DEFAULT_FPS

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


@dataclass(frozen=True)
class Video:
    """A video whose frames can be looked at in any order.

    frames: RGB. fps: frames a second, the mean where the rate varies. name: that of its file or
    folder. path: where that lies, or "" for an array. uneven_times: when each frame is shown, in
    seconds from the first one, where the rate varies; None where frame t is shown at t / fps.
    """

    frames: Frames
    fps: float
    name: str
    path: str = ""
    uneven_times: Float[np.ndarray, " T"] | None = None

    @property
    def times(self) -> Float[np.ndarray, " T"]:
        """When each frame is shown, in seconds from the first one."""
        if self.uneven_times is not None:
            return self.uneven_times
        return np.arange(len(self.frames)) / self.fps

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.frames.shape[1], self.frames.shape[2]


Source = str | Path | npt.NDArray[Any] | Video
"""What can be tracked: a file, a folder of images, an array uint8 [T, H, W, 3] of RGB, or a video
that was read before."""


def read_video(source: Source, progress: Progress = silent) -> Video:
    """All frames of a video as they are stored, in the order they are shown, turned upright.

    source: any file that FFmpeg reads, GIF too, of which the first video stream is taken; a folder
    of images of one size, in natural order; or an array uint8 [T, H, W, 3] of RGB. No frame of a
    file is dropped or repeated. Where the source says nothing sensible about its rate, that is 24
    frames a second.

    Warns (DinotrackWarning) of damage, of pixels that are not square and of a frame size that
    changes. Raises InputError where no frame can be read.
    """
    if isinstance(source, Video):
        return source
    if isinstance(source, np.ndarray):
        return Video(_checked(source), DEFAULT_FPS, "array")
    if not isinstance(source, str | Path):
        kinds = "a path, or an array uint8 [T, H, W, 3] of RGB"
        raise InputError(f"a video is {kinds}, not {type(source).__name__}")
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, progress)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    decoded = decode(path, progress)
    place = str(path.resolve())
    return Video(decoded.frames, decoded.fps, path.stem, place, decoded.uneven_times)


def content_hash(video: Video) -> str:
    """sha256 (hex) of the frames and their shape, whatever the file they came from."""
    digest = hashlib.sha256(repr(video.frames.shape).encode())
    for frame in each_frame(video.frames):
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def natural_key(path: Path) -> list[tuple[int, str]]:
    """A key that sorts frame2 before frame10."""
    runs = re.split(r"([0-9]+)", path.name.lower())
    return [(int(run), "") if run.isdigit() else (0, run) for run in runs]


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder in natural order; hidden and other files are passed over."""
    images = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    return sorted(images, key=natural_key)


def _checked(frames: npt.NDArray[Any]) -> Frames:
    pictures = frames.ndim == 4 and frames.shape[-1] == 3 and 0 not in frames.shape
    if frames.dtype != np.uint8 or not pictures:
        raise InputError(
            "a video array is uint8 RGB [T, H, W, 3] and not empty, "
            f"not {frames.dtype} {list(frames.shape)}"
        )
    return frames


def _read_folder(folder: Path, progress: Progress) -> Video:
    """Images that can't be decoded are named in a warning and left out."""
    files = images_in(folder)
    shape: tuple[int, ...] = ()
    count = 0
    with open_scratch() as store:
        for done, file in enumerate(files, 1):
            image = _read_image(file)
            if image is not None:
                shape = shape or image.shape
                _check_shape(file, image.shape, shape)
                put(store, np.ascontiguousarray(image).data)
                count += 1
            progress("read", done, len(files))
        if not count:
            raise InputError(
                f"{folder}: holds no image that can be read; "
                "give a video file or a folder of jpg or png frames"
            )
        frames = frames_of(store, (count, *shape))
    place = folder.resolve()
    return Video(frames, DEFAULT_FPS, place.name, str(place))


def _check_shape(file: Path, shape: tuple[int, ...], before: tuple[int, ...]) -> None:
    if shape != before:
        sizes = f"{shape[1]} x {shape[0]}, the ones before it {before[1]} x {before[0]}"
        raise InputError(f"{file}: is {sizes}; all images of a video need one size")


def _read_image(file: Path) -> Frame | None:
    """An image as it is meant to be seen: turned upright, in 8 bits; None for a damaged one."""
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):  # Pillow would clip 16-bit greys at 255
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=-1)
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's ways to say: a damaged file
        message = f"{file}: damaged image left out ({error})"
        warnings.warn(message, DinotrackWarning, stacklevel=4)
        return None
