"""Any video in, whole: a file, a folder of images, or an array.

Frames of files and folders lie on disk (`dinotrack.media.frames`), so a video may be larger than
memory.
"""

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from dinotrack.errors import InputError
from dinotrack.files import regular
from dinotrack.media.arrays import frames_of_arrays
from dinotrack.media.decoding import decode
from dinotrack.media.folders import STACK_SUFFIXES, read_folder, read_stack
from dinotrack.media.frames import Frames, each_frame
from dinotrack.media.images import is_tiff
from dinotrack.media.rates import DEFAULT_FPS
from dinotrack.progress import Progress, silent


@dataclass(frozen=True)
class Video:
    """A video whose frames can be looked at in any order.

    frames: RGB. fps: frames a second. name: that of its file or folder. path: where that lies, or
    "" for an array. uneven_times: when each frame is shown, in s, ascending from 0, where the rate
    varies (fps is the mean rate then); None where frame t is shown at t / fps.
    """

    frames: Frames
    fps: float
    name: str
    path: str = ""
    uneven_times: Float[np.ndarray, " T"] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.frames.shape[1], self.frames.shape[2]

    @property
    def times(self) -> Float[np.ndarray, " T"]:
        """When each frame is shown, in s, float64; the first one at 0."""
        if self.uneven_times is not None:
            return self.uneven_times
        return np.arange(len(self.frames)) / self.fps


Source = str | os.PathLike[str] | npt.ArrayLike | Iterable[Any] | Video
"""What can be tracked: a file, a folder of images, RGB frames uint8 [T, H, W, 3] as an array, a
tensor or one after another, or a video that was read before."""


def read_video(source: Source, progress: Progress = silent) -> Video:
    """All frames of a video as they are stored, in the order they are shown, turned upright.

    source: any file that FFmpeg reads, GIF too, of which the first video stream that moves is
    taken; a TIFF, of which all pages are taken; a folder of images of one size, in natural order;
    or frames, as `frames_of_arrays` takes them. No frame of a file is dropped or repeated. Pictures
    deeper than 8 bits get one scale for the whole sequence. Where the source says nothing sensible
    about its rate, that is 24 frames a second.

    Warns (DinotrackWarning) of damage, of pixels that are not square, of a frame size or a rate
    that changes, of what was done to deep pictures, and of names whose order or number is doubtful.
    Raises InputError where no frame can be read, where FFmpeg ends too early, and where frames
    would take more memory or disk than there is.
    """
    if isinstance(source, Video):
        return source
    if not isinstance(source, str | os.PathLike):
        return Video(frames_of_arrays(source), DEFAULT_FPS, "array")
    if not os.fspath(source):
        raise InputError("the path of the video is empty; give a video file or a folder of images")
    path = Path(source)
    if _is_folder(path):
        folder = path.resolve()
        return Video(read_folder(path, progress), DEFAULT_FPS, folder.name, str(folder))
    place = str(path.resolve())
    if path.suffix.lower() in STACK_SUFFIXES or is_tiff(path):
        return Video(read_stack(path, progress), DEFAULT_FPS, path.stem, place)
    decoded = decode(path, progress)
    return Video(decoded.frames, decoded.fps, path.stem, place, decoded.uneven_times)


def _is_folder(path: Path) -> bool:
    """False for a regular file. Raises InputError for what is neither, and would be waited for."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return True
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file or folder; check the path") from None
    except (OSError, ValueError) as error:  # no permission, too long, or with a zero byte
        reason = getattr(error, "strerror", None) or "no file can have this name"
        raise InputError(f"{path}: can't be read ({reason}); check the path") from error
    regular(path)
    return False


def content_hash(video: Video) -> str:
    """sha256 (hex) of the frames and their shape, whatever the file they came from."""
    digest = hashlib.sha256(repr(video.frames.shape).encode())
    for frame in each_frame(video.frames):
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()
