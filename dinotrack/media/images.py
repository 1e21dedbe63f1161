"""Picture files: the one place that opens them, and all that can be wrong with one.

A file is what its first bytes say, and only of the formats named in `_opener`. Pillow knows forty
more, of which some run other programs: it hands an EPS file of any name to Ghostscript. Its limit
of 179 megapixels is not asked, as the user named the file; `MOST_PIXELS` stands in for it, and
callers look at a picture's size before it is decoded.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dinotrack.errors import DinotrackWarning, InputError, cause_of
from dinotrack.files import regular
from dinotrack.media import deep_colours, tiff
from dinotrack.media.tiff import File

Pixels = Shaped[np.ndarray, "H W"] | Shaped[np.ndarray, "H W 3"]
"""Grey or RGB: uint8, or the deeper numbers that a file holds."""
Size = tuple[int, int]
"""(H, W)."""
Look = Callable[[Size], None]
"""Is shown the size of a picture before it is decoded, and raises where it won't do. A photo that
lies on its side is shown as it lies."""

Decode = Callable[[Image.Image, File], Pixels]
"""Takes the pixels of an opened image and its file."""

MOST_PIXELS = 1 << 29
"""More than 23,170 x 23,170 would take gigabytes of memory for one picture."""
ORIENTATION = 0x0112
"""The EXIF tag."""
KNOWN = "BMP, GIF, JPEG, PNG, PGM, PPM, TIFF or WebP"


class DamagedPicture(InputError):
    """A file that is no picture of a known format, or is damaged; made of (text, reason, text)."""

    @property
    def reason(self) -> str:
        """What is wrong, in a few words."""
        return str(self.args[1])


@dataclass(frozen=True)
class Stored:
    """A picture as its file holds it, not turned, for those who ask what its numbers mean."""

    values: Pixels
    """Grey, RGB, or the indices of a palette; without alpha."""
    alpha: UInt8[np.ndarray, "H W"] | None
    """255 is opaque; None where the file has no alpha."""
    palette: UInt8[np.ndarray, "N 3"] | None
    """RGB by index; None where values are no indices."""
    lossy: bool
    """Whether it was compressed with loss (JPEG, lossy WebP), so that its edges are not sharp."""


def any_size(size: Size) -> None:
    """The `Look` that takes every size."""


def read_stored(source: Path | bytes, look: Look = any_size) -> Stored:
    """The first picture of a file, or of a file's bytes.

    Raises DamagedPicture, InputError for more than `MOST_PIXELS` and for what is no regular file,
    and what `look` raises.
    """
    with _opened(source) as file:
        bounded = _bounded(source, look)
        if _starts(file).startswith(tiff.MAGIC):
            values, image = next(_tiff_pages(source, file, bounded, _stored_values))
            if image is None:
                return Stored(values, None, None, lossy=False)
        else:
            image = _opener(file)(file)
            bounded((image.height, image.width))
            values = _stored_values(image, file)
        return Stored(values, _alpha(image), _palette(image), _is_lossy(image, file))


def read_pages(source: Path | bytes, look: Look = any_size) -> Iterator[Pixels]:
    """All pictures of a file in order, upright: one of a photo, all of an animation or a stack.

    Pages of a TIFF that are marked as smaller copies of others are passed over. Errors are those
    of `read_stored`.
    """
    with _opened(source) as file:
        bounded = _bounded(source, look)
        if _starts(file).startswith(tiff.MAGIC):
            is_empty = True
            for pixels, _ in _tiff_pages(source, file, bounded, _upright):
                is_empty = False
                yield pixels
            if is_empty:
                raise ValueError("it holds no picture")
            return
        image = _opener(file)(file)
        first = int(getattr(image, "default_image", False))  # shown where nothing is animated
        for page in range(first, getattr(image, "n_frames", 1)):
            image.seek(page)
            bounded((image.height, image.width))
            yield _upright(image, file)


def is_tiff(path: Path) -> bool:
    """Whether a file that can be read begins like a TIFF, whatever its name is."""
    try:
        with path.open("rb") as file:
            return _starts(file).startswith(tiff.MAGIC)
    except OSError:
        return False


# --- opening


@contextmanager
def _opened(source: Path | bytes) -> Iterator[File]:
    """A picture's file. What goes wrong inside is told as InputError."""
    name = _name(source)
    try:
        if isinstance(source, bytes):
            yield io.BytesIO(source)
            return
        if not source.exists():
            raise InputError(f"{name}: no such file; check the path")
        with regular(source).open("rb") as file:
            yield file
    except InputError:
        raise
    except MemoryError as error:
        raise _damaged(name, "it does not fit into memory") from error
    except Image.DecompressionBombError as error:  # which GIF and WebP ask for by themselves
        raise _damaged(name, "it is too large") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise _damaged(name, cause_of(error)) from error
    except Exception as error:  # decoders of damaged files raise whatever comes to pass
        raise _damaged(name, "it is damaged") from error


def _name(source: Path | bytes) -> str:
    return "the picture" if isinstance(source, bytes) else str(source)


def _damaged(name: str, reason: str) -> DamagedPicture:
    plain = " ".join(reason.split()).rstrip(".") or "it is damaged"
    return DamagedPicture(f"{name}: can't be read as a picture (", plain, ")")


def _starts(file: File, length: int = 4) -> bytes:
    """The first bytes of a file, which is left at its start."""
    file.seek(0)
    start = file.read(length)
    file.seek(0)
    return start


def _opener(file: File) -> Callable[[File], Image.Image]:
    """What opens a file that begins like this one."""
    start = _starts(file, 16)
    openers: dict[tuple[bytes, ...], Callable[[File], Image.Image]] = {
        (b"\x89PNG\r\n\x1a\n",): PngImageFile,
        (b"\xff\xd8\xff",): JpegImageFile,
        tiff.MAGIC: TiffImageFile,
        (b"GIF87a", b"GIF89a"): GifImageFile,
        (b"BM",): BmpImageFile,
        (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"): PpmImageFile,
    }
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return WebPImageFile
    for starts, opener in openers.items():
        if start.startswith(starts):
            return opener
    raise ValueError(f"it is no {KNOWN}" if start else "it is empty")


def _bounded(source: Path | bytes, look: Look) -> Look:
    """The same look, which also refuses what is too large for memory."""

    def looked(size: Size) -> None:
        look(size)
        height, width = size
        if height * width > MOST_PIXELS:
            raise InputError(
                f"{_name(source)}: is {width} x {height}, which is too large; "
                f"give pictures of at most {MOST_PIXELS // 10**6} million pixels"
            )

    return looked


# --- pixels


def _upright(image: Image.Image, file: File) -> Pixels:
    """The pixels as they are meant to be seen."""
    if _is_deep_colour(image):
        pixels = deep_colours.decode(_starts(file, -1))
        return deep_colours.turned(pixels, image.getexif().get(ORIENTATION, 1))
    return _grey_or_rgb(ImageOps.exif_transpose(image))


def _stored_values(image: Image.Image, file: File) -> Pixels:
    """The pixels as they are stored: of a palette its indices."""
    if _is_deep_colour(image):
        return deep_colours.decode(_starts(file, -1))
    if image.mode in ("P", "PA"):
        indices = np.asarray(image)
        return indices if image.mode == "P" else indices[..., 0]
    return _grey_or_rgb(image)


def _grey_or_rgb(image: Image.Image) -> Pixels:
    """Grey of any depth as it is, all else as 8-bit RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _native(np.asarray(image))
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGB"))


def _alpha(image: Image.Image) -> UInt8[np.ndarray, "H W"] | None:
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return None
    return np.asarray(image.convert("RGBA").getchannel("A"))


def _palette(image: Image.Image) -> UInt8[np.ndarray, "N 3"] | None:
    if image.mode not in ("P", "PA") or image.palette is None:
        return None
    colours = image.palette.tobytes() if image.palette.mode == "RGB" else b""
    listed = colours or bytes(image.getpalette() or ())
    return np.frombuffer(listed, np.uint8).reshape(-1, 3)


def _is_lossy(image: Image.Image, file: File) -> bool:
    """A WebP says that it is lossless where its first picture begins."""
    if image.format == "WEBP":
        return b"VP8 " in _starts(file, 1 << 12)
    return image.format in ("JPEG", "MPO")


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether Pillow would drop the low bytes of a picture's colours."""
    if image.format not in ("PNG", "PPM") or image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if getattr(image, "n_frames", 1) > 1:  # OpenCV would show the first one only
        return False
    tiles = getattr(image, "tile", None)
    how = tiles[0][3] if tiles else ""
    if image.format == "PPM":
        return isinstance(how, tuple) and max(how[1:]) > 255  # ("RGB", the largest number)
    return image.format == "PNG" and str(how).endswith(";16B")


# --- TIFF


def _tiff_pages(
    source: Path | bytes, file: File, look: Look, decode: Decode
) -> Iterator[tuple[Pixels, Image.Image | None]]:
    """The pages of a TIFF, and Pillow's image for those which it decodes."""
    image: Image.Image | None = None
    for page in tiff.pages_of(file):
        look(page.size)
        if isinstance(page, tiff.Run):
            yield from ((_native(picture), None) for picture in page.read(file))
            return
        if page.index == 0:
            _say_channels(source, page.channels)
            image = None if page.deep_colour else _pillow_s(file, page)
        if page.reduced:
            continue
        if image is None:
            pixels = _deep_page(source, file, page)
            yield deep_colours.turned(pixels, page.orientation), None
        else:
            image.seek(page.index)
            yield _signed(decode(image, file), page), image


def _say_channels(source: Path | bytes, channels: int) -> None:
    if channels > 1:
        warnings.warn(
            f"{_name(source)}: its pages are {channels} channels of each picture, and are taken "
            "one after another; save it as RGB, or one of the channels",
            DinotrackWarning,
            stacklevel=3,
        )


def _pillow_s(file: File, first: tiff.TiffPage) -> Image.Image | None:
    """Pillow's image of a TIFF; None where it does not know such deep numbers."""
    file.seek(0)
    try:
        return TiffImageFile(file)
    except SyntaxError:
        if first.bits <= 8:
            raise
        return None


def _deep_page(source: Path | bytes, file: File, page: tiff.TiffPage) -> Pixels:
    """A page that Pillow does not know, or not as deep as it is."""
    if page.strips:
        return _native(page.read(file))
    if page.odd:
        raise ValueError("its kind of pixels isn't known")
    if isinstance(source, bytes):
        return deep_colours.decode(source)
    return deep_colours.decode_page(source, page.index)


def _signed(pixels: Pixels, page: tiff.TiffPage) -> Pixels:
    """Pillow reads 32-bit numbers as signed and 8-bit ones as unsigned; the file knows better."""
    if pixels.dtype == np.int32 and page.sample_format == tiff.UNSIGNED and page.bits == 32:
        return pixels.view(np.uint32)
    if pixels.dtype == np.uint8 and page.sample_format == tiff.SIGNED and page.bits == 8:
        return pixels.view(np.int8)
    return pixels


def _native(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same numbers in this machine's order of bytes."""
    return pixels.astype(pixels.dtype.newbyteorder("="))
