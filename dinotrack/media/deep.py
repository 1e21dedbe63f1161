"""Grey and RGB video of more than 8 bits, brought to 8 bits with one scale for all frames.

Such video comes of cameras, which often store 10 or 12 bits in 16. FFmpeg would take the upper 8 of
these 16, and make the picture almost black. What the frames hold in truth shows once all of them
are decoded, so they are kept as they are at first, and scaled in a second pass. YUV video of more
bits, as of phones, says how many it has, and is left to FFmpeg.
"""

import mmap
import re
from dataclasses import dataclass
from functools import reduce
from typing import IO

import numpy as np
from jaxtyping import Shaped

from dinotrack.media.frames import Frames, frames_of, open_scratch, put
from dinotrack.media.levels import Span, as_rgb, scale_for, span_of


@dataclass(frozen=True)
class Layout:
    """How raw frames come out of FFmpeg.

    name: FFmpeg's name of the pixel format. dtype: of a number. planes: colours that come one after
    the other, G, B and R; 0 where a pixel's R, G and B lie together. bits: how deep it says it is.
    """

    name: str
    dtype: str
    planes: int
    bits: int

    def frame_bytes(self, size: tuple[int, int]) -> int:
        """Bytes of a frame of size (H, W)."""
        return size[0] * size[1] * (self.planes or 3) * np.dtype(self.dtype).itemsize


RGB = Layout("rgb24", "u1", 0, 8)


def layout_of(kind: str) -> Layout:
    """How frames of a pixel format (FFmpeg's name) are handed over: as they are where they are deep
    grey or RGB, otherwise as 8-bit RGB."""
    if floats := re.fullmatch(r"(gray|gbra?p)f32(le|be)", kind):
        grey = floats[1] == "gray"
        return Layout("grayf32le" if grey else "gbrpf32le", "<f4", 1 if grey else 3, 32)
    if grey := re.fullmatch(r"(?:gray|ya)(\d+)(?:le|be)", kind):
        return Layout(f"gray{grey[1]}le", "<u2", 1, int(grey[1]))
    if planar := re.fullmatch(r"gbra?p(\d+)(?:le|be)", kind):
        return Layout(f"gbrp{planar[1]}le", "<u2", 3, int(planar[1]))
    if re.fullmatch(r"(rgb|bgr)48(le|be)|(rgba|bgra)64(le|be)", kind):
        return Layout("rgb48le", "<u2", 0, 16)
    return RGB


def to_rgb(store: IO[bytes], shape: tuple[int, int, int], layout: Layout) -> tuple[Frames, str]:
    """The frames [T, H, W] of a scratch file as 8-bit RGB, and what a user should know of it."""
    count, height, width = shape
    store.flush()
    with mmap.mmap(store.fileno(), 0, access=mmap.ACCESS_READ) as kept:
        size = layout.frame_bytes((height, width))
        spans = [span_of(_numbers(kept, t * size, shape, layout)) for t in range(count)]
        span = reduce(Span.joined, spans)
        scale = scale_for(span)
        with open_scratch(height * width * 3 * count) as rgb:
            for t in range(count):
                small = scale.apply(_numbers(kept, t * size, shape, layout))
                put(rgb, np.ascontiguousarray(as_rgb(small)).data)
            frames = frames_of(rgb, (count, height, width, 3))
    full = span.whole and int(span.top).bit_length() == layout.bits
    numbers = f"its frames hold numbers from {span.low:g} to {span.high:g}"
    expected = not scale.told or (full and scale.black == 0)
    return frames, "" if expected else f"{numbers}; {scale.told}, in all frames alike"


def _numbers(
    kept: mmap.mmap, start: int, shape: tuple[int, int, int], layout: Layout
) -> Shaped[np.ndarray, "H W"] | Shaped[np.ndarray, "H W 3"]:
    """One frame as it was stored: grey or RGB."""
    _, height, width = shape
    # A copy, as nothing may point into the file when it is closed
    flat = np.frombuffer(kept[start : start + layout.frame_bytes((height, width))], layout.dtype)
    if layout.planes == 1:
        return flat.reshape(height, width)
    if layout.planes == 0:
        return flat.reshape(height, width, 3)
    green, blue, red = flat.reshape(3, height, width)
    return np.stack((red, green, blue), axis=-1)
