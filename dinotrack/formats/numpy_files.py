"""Arrays of numbers in .npy and .npz files.

What a file claims to hold is looked at, and compared with the file's size, before any of it is
read. So a damaged or hostile header takes no memory. Python objects (pickles) are never loaded.
"""

import contextlib
import io
import math
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dinotrack.formats.opening import Unreadable, opened, size_of

Look = Callable[[tuple[int, ...], np.dtype[Any]], None]
"""Told the shape and the type of an array before it is read; raises InputError to refuse it.

The type is one of numbers, or of text."""

MAGIC = b"\x93NUMPY"
LENGTH_BYTES = {b"\x01": 2, b"\x02": 4, b"\x03": 4}
"""Of the length of the header, by the version of the format."""
LONGEST_HEADER = 4096
"""Of one plain array; that of an array with named fields may be longer."""
ENTRY = re.compile(
    r"""["'](descr|fortran_order|shape)["']: *(["'][<>=|]?[a-zA-Z?][0-9]*["']|True|False"""
    r"""|\([0-9L, ]*\)),? *"""
)
"""One fact of a header, which is written as Python writes a dict."""
HEADER = re.compile(rf"\{{ *(?:{ENTRY.pattern}){{3}}\}}")
NO_ARRAY = "it is damaged, or something else than its name says"
ENCRYPTED = 1
"""A bit of a zip member's flags."""
MOST_DEFLATED = 1100
"""No byte of a deflated file stands for more; zlib says 1032."""


def read_npy(path: Path, kind: str, look: Look) -> npt.NDArray[Any]:
    """The numbers of an .npy file. Raises InputError, which says that the file is not `kind`."""
    with opened(path, kind) as file:
        return _read(file, size_of(file), look)


def any_numbers(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """The `Look` that takes every array of numbers."""
    if dtype.kind == "U":
        raise Unreadable("it holds text")


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
    header = _header(file)
    claimed = math.prod(header.shape) * header.dtype.itemsize
    if claimed > size - file.tell():
        raise Unreadable("it holds fewer numbers than it says")
    look(header.shape, header.dtype)
    values = np.empty(math.prod(header.shape), header.dtype)
    content = values.view(np.uint8)
    if file.readinto(content.data) != claimed:
        raise Unreadable("it was cut while it was read")
    if header.dtype == np.bool_:
        values = content != 0  # of other bytes than 0 and 1 nobody knows what numpy makes
    return values.reshape(header.shape, order=header.order)


@dataclass(frozen=True)
class _Header:
    """What an array is."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]


def _header(file: io.BufferedIOBase) -> _Header:
    """The header, after which the numbers begin.

    numpy's own reader takes a minute for some damaged headers, so it is not asked.
    """
    magic, version = file.read(6), file.read(2)
    if magic != MAGIC or version[:1] not in LENGTH_BYTES:
        raise Unreadable(NO_ARRAY)
    length = int.from_bytes(file.read(LENGTH_BYTES[version[:1]]), "little")
    text = file.read(min(length, LONGEST_HEADER)).decode("latin-1").strip()
    if "'descr': [" in text:
        raise Unreadable("its numbers have names; it holds no plain numbers")
    if length > LONGEST_HEADER or HEADER.fullmatch(text) is None:
        raise Unreadable(NO_ARRAY)
    found = {match[1]: match[2] for match in ENTRY.finditer(text)}
    if found.keys() != {"descr", "fortran_order", "shape"}:
        raise Unreadable(NO_ARRAY)
    dtype = np.dtype(found["descr"].strip("'\""))
    if dtype.kind not in "biufU" or not dtype.itemsize:
        raise Unreadable("it holds no plain numbers")
    sides = re.findall("[0-9]+", found["shape"])
    order: Literal["C", "F"] = "F" if found["fortran_order"] == "True" else "C"
    return _Header(tuple(int(side) for side in sides), dtype, order)
