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

WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, SAMPLE_FORMAT = 256, 257, 258, 259, 277, 339
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
    orientation: int
    reduced: bool
    """Whether it is a smaller copy of another page."""

    @property
    def deep_colour(self) -> bool:
        """Whether it has several channels of more than 8 bits."""
        return self.samples > 1 and self.bits > 8


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
        page = _page(len(seen) - 1, directory)
        run = _run(directory, page, head) if len(seen) == 1 and not directory.next else None
        if run is not None:
            _check_room(file, run)
        yield run or page


def _page(index: int, directory: ImageFileDirectory_v2) -> TiffPage:
    bits = directory.get(BITS, (1,))
    return TiffPage(
        index=index,
        size=(int(directory[HEIGHT]), int(directory[WIDTH])),
        bits=max(bits) if isinstance(bits, tuple) else int(bits),
        samples=int(directory.get(SAMPLES, 1)),
        sample_format=_first(directory.get(SAMPLE_FORMAT, UNSIGNED)),
        orientation=int(directory.get(ORIENTATION, 1)),
        reduced=bool(int(directory.get(KIND, 0)) & REDUCED),
    )


def _run(directory: ImageFileDirectory_v2, page: TiffPage, head: bytes) -> Run | None:
    """The pictures that the first page stands for, where MetaMorph or ImageJ wrote it."""
    count = _promised(directory)
    if count < 2:
        return None
    order = "<" if head.startswith(b"II") else ">"
    kind = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}.get(page.sample_format, "u")
    starts, lengths = directory.get(OFFSETS, (0,)), directory.get(BYTES, (0,))
    plain = directory.get(COMPRESSION, 1) == 1 and page.samples == 1 and page.bits % 8 == 0
    if not plain:
        return Run(count, page.size, np.dtype("u1"), 0, 0)
    dtype = np.dtype(f"{order}{kind}{page.bits // 8}")
    return Run(count, page.size, dtype, starts[0], starts[-1] + lengths[-1] - starts[0])


def _promised(directory: ImageFileDirectory_v2) -> int:
    """How many pictures the first page says that there are; 0 where it says nothing."""
    if METAMORPH in directory:
        return len(directory[METAMORPH])
    text = str(directory.get(DESCRIPTION, ""))
    images = re.search(r"^images=(\d+)", text, re.MULTILINE)
    return int(images[1]) if images and text.startswith("ImageJ=") else 0


def _check_room(file: File, run: Run) -> None:
    height, width = run.size
    needed = run.start + (run.count - 1) * run.step + height * width * run.dtype.itemsize
    if run.step == 0 or needed > file.seek(0, 2):
        raise ValueError(f"it says that it holds {run.count} pictures, but lists only the first")


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)
