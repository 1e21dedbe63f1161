"""Frames that lie on disk instead of in memory, in a file without a name.

A minute of high-definition video is ten gigabytes of frames. They are written into a scratch file
once, and from then on the array of frames is a view of that file: a frame is read when somebody
looks at it. The file is gone when nobody looks at it any more, and also after a crash.
"""

import math
import mmap
import os
import tempfile
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

from dinotrack.errors import InputError


def open_scratch() -> IO[bytes]:
    """A new scratch file.

    It lies in $TMPDIR, else in /var/tmp where there is one: /tmp is memory on some systems, /var/tmp
    on none.
    """
    on_disk = "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK)
    return tempfile.TemporaryFile(dir="/var/tmp" if on_disk else None)


def put(store: IO[bytes], data: bytes | memoryview) -> int:
    """Append to a scratch file; the number of bytes. Raises InputError where the disk is full."""
    try:
        return store.write(data)
    except OSError as error:
        raise InputError(
            f"the video's frames can't be put aside ({error.strerror or error}); "
            "set TMPDIR to a folder with room"
        ) from error


def frames_in(store: IO[bytes], shape: tuple[int, ...]) -> UInt8[np.ndarray, "T H W 3"]:
    """What was put into a scratch file, as frames; the file may be closed then."""
    store.flush()
    mapping = mmap.mmap(store.fileno(), math.prod(shape))
    return np.frombuffer(mapping, np.uint8).reshape(shape)


def forget(frames: npt.NDArray[Any]) -> None:
    """Give back the memory that parts of a scratch file take up since they were looked at.

    The frames stay as they are. Nothing happens where the system can't do that: such a system drops
    what it likes when memory gets short.
    """
    mapping = mapping_of(frames)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def mapping_of(frames: npt.NDArray[Any]) -> mmap.mmap | None:
    """The mapped file that an array is a view of; None for an array in memory."""
    owner: Any = frames
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    return owner if isinstance(owner, mmap.mmap) else None
