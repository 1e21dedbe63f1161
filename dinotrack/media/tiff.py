"""What a TIFF says of its pages: how large and how deep they are, and how many there really are.

Pillow decodes most pages, but it drops the low byte of 16-bit colours, knows no colours of floats,
and sees one page where a microscope's program lists one and stores the others behind it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.TiffImagePlugin import ImageFileDirectory_v2

File = BufferedReader | BytesIO

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins: of either byte order, and of more than 4 GB."""
LARGE = b"+"

WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, PLANES, SAMPLE_FORMAT = 256, 257, 258, 259, 277, 284, 339
KIND, DESCRIPTION, ORIENTATION, OFFSETS, BYTES, METAMORPH = 254, 270, 274, 273, 279, 33629
REDUCED = 0b101
"""Bits of a page's kind: a smaller copy of another page, or the mask of its transparency."""
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
"""What SAMPLE_FORMAT says of the numbers."""


@dataclass(frozen=True)
class TiffPage:
    """One page as its directory describes it."""

    index: int
    """Which directory of the file it is, from 0."""
    size: tuple[int, int]
    """(H, W)."""
    bits: int
    """Of the deepest channel."""
    samples: int
    sample_format: int
    planar: bool
    """Whether its channels lie one after another and not pixel by pixel."""
    strips: tuple[tuple[int, int], ...]
    """Where its numbers lie plainly in the file: (start, bytes); empty where they are packed."""
    order: str
    """Of the bytes of a number: "<" or ">"."""
    orientation: int
    channels: int
    """Pages that ImageJ made of each picture, one a colour."""
    reduced: bool
    """Whether it is a smaller copy of another page."""

    @property
    def deep_colour(self) -> bool:
        """Whether it has several channels of more than 8 bits."""
        return self.samples > 1 and self.bits > 8

    @property
    def dtype(self) -> np.dtype[Any]:
        """The kind of its plain numbers."""
        kind = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}.get(self.sample_format, "u")
        return np.dtype(f"{self.order}{kind}{self.bits // 8}")

    @property
    def odd(self) -> bool:
        """Whether OpenCV would take its numbers for others."""
        return self.planar or (self.bits == 64 and self.sample_format != FLOAT)

    def read(self, file: File) -> npt.NDArray[Any]:
        """Its plain numbers, grey [H, W] or RGB [H, W, 3]. Raises ValueError where they are cut
        short."""
        height, width = self.size
        total = sum(count for _, count in self.strips)
        if total != height * width * self.samples * self.dtype.itemsize:
            raise ValueError("it is cut short")
        data = bytearray()
        for start, count in self.strips:
            file.seek(start)
            data += file.read(count)
        numbers = np.frombuffer(data, self.dtype)
        if self.planar:
            channels = np.moveaxis(numbers.reshape(self.samples, height, width), 0, -1)
        else:
            channels = numbers.reshape(height, width, self.samples)
        return channels[..., :3] if self.samples >= 3 else channels[..., 0]


@dataclass(frozen=True)
class Run:
    """Plain pictures that lie one after another in a file, of which only the first is listed."""

    count: int
    size: tuple[int, int]
    """(H, W)."""
    dtype: np.dtype[Any]
    start: int
    step: int
    """Bytes from one picture to the next."""

    def read(self, file: File) -> Iterator[npt.NDArray[Any]]:
        """The pictures [H, W]. Raises ValueError where the file ends too early."""
        height, width = self.size
        for index in range(self.count):
            file.seek(self.start + index * self.step)
            data = file.read(height * width * self.dtype.itemsize)
            yield np.frombuffer(data, self.dtype).reshape(height, width)


def pages_of(file: File) -> Iterator[TiffPage | Run]:
    """The pages of a TIFF; or the run of pictures that its only page stands for.

    Raises ValueError where the file is cut short, or promises pictures that aren't there.
    """
    file.seek(0)
    head = file.read(8)
    directory = ImageFileDirectory_v2(head + file.read(8) if LARGE in head[:4] else head)
    seen: set[int] = set()
    while directory.next and directory.next not in seen:
        seen.add(directory.next)
        file.seek(directory.next)
        directory.load(file)
        if not {WIDTH, HEIGHT} <= directory.keys():
            raise ValueError("it is cut short")
        page = _page(len(seen) - 1, directory, head)
        run = _run(directory, page) if len(seen) == 1 and not directory.next else None
        if run is not None:
            _check_room(file, run)
        yield run or page


def _page(index: int, directory: ImageFileDirectory_v2, head: bytes) -> TiffPage:
    bits = directory.get(BITS, (1,))
    deepest = max(bits) if isinstance(bits, tuple) else int(bits)
    plain = directory.get(COMPRESSION, 1) == 1 and deepest % 8 == 0 and OFFSETS in directory
    strips = zip(directory.get(OFFSETS, ()), directory.get(BYTES, ()), strict=True)
    return TiffPage(
        index=index,
        size=(int(directory[HEIGHT]), int(directory[WIDTH])),
        bits=deepest,
        samples=int(directory.get(SAMPLES, 1)),
        sample_format=_first(directory.get(SAMPLE_FORMAT, UNSIGNED)),
        planar=directory.get(PLANES, 1) == 2,
        strips=tuple(strips) if plain else (),
        order="<" if head.startswith(b"II") else ">",
        orientation=int(directory.get(ORIENTATION, 1)),
        channels=_by_imagej(directory, "channels"),
        reduced=bool(int(directory.get(KIND, 0)) & REDUCED),
    )


def _run(directory: ImageFileDirectory_v2, page: TiffPage) -> Run | None:
    """The pictures that the first page stands for, where MetaMorph or ImageJ wrote it."""
    count = _promised(directory)
    if count < 2:
        return None
    if not page.strips or page.samples > 1:
        return Run(count, page.size, np.dtype("u1"), 0, 0)
    (first, _), (last, length) = page.strips[0], page.strips[-1]
    return Run(count, page.size, page.dtype, first, last + length - first)


def _promised(directory: ImageFileDirectory_v2) -> int:
    """How many pictures the first page says that there are; 0 where it says nothing."""
    if METAMORPH in directory:
        return len(directory[METAMORPH])
    return _by_imagej(directory, "images")


def _by_imagej(directory: ImageFileDirectory_v2, name: str) -> int:
    """A number that ImageJ writes into the description of a page; 0 where there is none."""
    text = str(directory.get(DESCRIPTION, ""))
    found = re.search(rf"^{name}=(\d+)", text, re.MULTILINE)
    return int(found[1]) if found and text.startswith("ImageJ=") else 0


def _check_room(file: File, run: Run) -> None:
    height, width = run.size
    needed = run.start + (run.count - 1) * run.step + height * width * run.dtype.itemsize
    if run.step == 0 or needed > file.seek(0, 2):
        raise ValueError(f"it says that it holds {run.count} pictures, but lists only the first")


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)
