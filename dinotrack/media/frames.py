"""Frames of a video, which lie on disk where they come from a file.

A minute of high-definition video is ten gigabytes of frames. Decoding therefore writes them into a
scratch file, which has no name, and the array of frames is a view of that file: a frame is read
when it is used. The file is gone when the array is, and also after a crash. Code that goes through
all frames uses `each_frame`, so that memory does not fill up.
"""

import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

from dinotrack.errors import InputError, cause_of

Frame = UInt8[np.ndarray, "H W 3"]
"""RGB."""
Frames = UInt8[np.ndarray, "T H W 3"]
"""RGB."""


def one_frame(frames: Frames, t: int) -> Frame:
    """Frame t.

    Where the frames lie on disk this is a copy, and none of them stays in memory. Where they lie in
    memory it is a view.
    """
    frame: npt.NDArray[np.uint8] = frames[t]
    mapping = _mapping_of(frames)
    if mapping is None:
        return frame
    copy = frame.copy()
    if hasattr(mmap, "MADV_DONTNEED"):  # other systems drop what they like when memory gets short
        mapping.madvise(mmap.MADV_DONTNEED)
    return copy


def each_frame(frames: Frames) -> Iterator[Frame]:
    """`one_frame` of every frame, one after the other."""
    return (one_frame(frames, t) for t in range(len(frames)))


def open_scratch(needed: int = 0, name: str = "the video") -> IO[bytes]:
    """A new scratch file.

    The file lies in $TMPDIR, else in /var/tmp where there is one: on some systems /tmp is memory,
    but /var/tmp never is.

    needed: bytes that the frames of the video `name` will take, as far as that is known. Raises
    InputError where the disk has not so much room, or takes no file.
    """
    on_disk = "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK)
    try:
        folder = "/var/tmp" if on_disk else tempfile.gettempdir()
        room = shutil.disk_usage(folder).free if needed else needed
        if room < needed:
            raise InputError(
                f"{name}: its frames take {in_words(needed)} of disk, and {folder} has room for "
                f"{in_words(room)}; set TMPDIR to a folder with room, or make the video smaller"
            )
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise _full(error) from error


def put(store: IO[bytes], data: bytes | memoryview) -> int:
    """Append to a scratch file; the number of bytes. Raises InputError where the disk is full."""
    try:
        return store.write(data)
    except OSError as error:
        raise _full(error) from error


def frames_of(store: IO[bytes], shape: tuple[int, ...]) -> Frames:
    """What was put into a scratch file, as frames; the file may be closed then.

    Raises InputError where the disk is full.
    """
    try:
        store.flush()
        mapping = mmap.mmap(store.fileno(), math.prod(shape))
    except OSError as error:
        raise _full(error) from error
    return np.frombuffer(mapping, np.uint8).reshape(shape)


def _full(error: OSError) -> InputError:
    return InputError(
        f"the video's frames can't be put aside ({cause_of(error)}); "
        "set TMPDIR to a folder with room"
    )


def in_words(count: int) -> str:
    """Bytes as a user reads them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _mapping_of(frames: npt.NDArray[Any]) -> mmap.mmap | None:
    """The mapped file that an array is a view of; None for an array in memory."""
    owner: Any = frames
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    return owner if isinstance(owner, mmap.mmap) else None
