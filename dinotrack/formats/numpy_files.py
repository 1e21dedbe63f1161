"""Arrays of numbers in .npy and .npz files.

What a file claims to hold is looked at, and compared with the file's size, before any of it is
read. So a damaged or hostile header takes no memory. Python objects (pickles) are never loaded.
"""

import contextlib
import io
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dinotrack.formats.opening import Unreadable, opened, size_of

Look = Callable[[tuple[int, ...], np.dtype[Any]], None]
"""Told the shape and the type of an array before it is read; raises InputError to refuse it."""

ENCRYPTED = 1
"""A bit of a zip member's flags."""
MOST_DEFLATED = 1100
"""No byte of a deflated file stands for more; zlib says 1032."""


def read_npy(path: Path, kind: str, look: Look) -> npt.NDArray[Any]:
    """The numbers of an .npy file. Raises InputError, which says that the file is not `kind`."""
    with opened(path, kind) as file:
        return _read(file, size_of(file), look)


def any_numbers(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """The `Look` that takes every array."""


@dataclass(frozen=True)
class Archive:
    """An .npz file that is open for reading."""

    members: dict[str, zipfile.ZipInfo]
    """By the name of the array."""
    zipped: zipfile.ZipFile

    def read(self, name: str, look: Look = any_numbers) -> npt.NDArray[Any]:
        """The numbers of one array."""
        member = self.members[name]
        if member.flag_bits & ENCRYPTED:
            raise Unreadable("it is encrypted; save it without a password")
        if member.file_size > MOST_DEFLATED * (member.compress_size + 1):
            raise Unreadable("it claims to hold more than it can")
        with self.zipped.open(member) as file:
            assert isinstance(file, io.BufferedIOBase)
            return _read(file, member.file_size, look)


@contextlib.contextmanager
def open_npz(path: Path, kind: str) -> Iterator[Archive]:
    """An .npz file. Raises InputError, which says that it is not `kind`."""
    with opened(path, kind) as file, zipfile.ZipFile(file) as zipped:
        ours = [info for info in zipped.infolist() if info.filename.endswith(".npy")]
        yield Archive({info.filename.removesuffix(".npy"): info for info in ours}, zipped)


def _read(file: io.BufferedIOBase, size: int, look: Look) -> npt.NDArray[Any]:
    shape, dtype = _header(file)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > size - file.tell():
        raise Unreadable("it holds fewer numbers than it says")
    look(shape, dtype)
    file.seek(0)
    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _header(file: io.BufferedIOBase) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise Unreadable("it holds no plain numbers")
    if dtype.hasobject or dtype.kind not in "biuf":
        raise Unreadable("it holds no plain numbers")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise Unreadable("it is damaged")
    return shape, dtype
