"""Pictures deeper than 8 bits, brought to 8 bits with one scale for the whole sequence.

A camera of 12 bits stores its numbers in 16, and a program of floats stores 0 to 1. To drop the low
byte, or to cut off what exceeds 255, would make such pictures black or white. What the numbers of a
sequence span tells how they are meant.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

Numbers = Shaped[np.ndarray, "*shape"]
"""Pixels of any depth."""

SHORT = 16
"""Bits of a picture that is as deep as it looks: its low byte is dropped without a word."""
Levels = UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]
"""Grey or RGB."""

NARROW = 32
"""Levels: integers and fractions that would leave fewer are spread out."""
FEW = 8
"""Levels: a sequence that has no more is as good as flat."""
STRAY = 1e-4
"""The share of the darkest and of the brightest pixels that does not count: a camera has broken
ones."""
GLARING = 8
"""Strays are so many times brighter than all else, at least; else they do no harm."""
ENOUGH = 1000
"""Pixels of a picture that may have strays."""


@dataclass(frozen=True)
class Span:
    """From the darkest to the brightest number of pictures."""

    low: float
    high: float
    whole: bool
    """Whether they are integers."""
    finite: bool = True
    """False where some numbers are not finite, which have no part in the span."""
    usual: float = math.inf
    """The brightest number but for strays: single pixels that stay the same whatever is seen."""

    def joined(self, other: "Span") -> "Span":
        """The span of both. Integers and floats together are floats."""
        return Span(
            min(self.low, other.low),
            max(self.high, other.high),
            self.whole and other.whole,
            self.finite and other.finite,
            max(self.usual, other.usual),
        )

    @property
    def top(self) -> float:
        """The brightest number that counts."""
        is_glaring = self.low < self.usual and GLARING * self.usual <= self.high
        return self.usual if is_glaring else self.high


@dataclass(frozen=True)
class Scale:
    """How numbers become levels from 0 to 255: black becomes 0, and a level takes `step`."""

    black: float
    step: float
    told: str
    """What is done, as part of a sentence, where a user should know; else ""."""

    def apply(self, pixels: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
        """The levels of pictures. Numbers that are not finite become 0, 0 and 255."""
        whole = pixels.dtype.kind in "iu"
        if whole and self.black == 0 and self.step >= 1:
            levels = pixels // int(self.step)
        else:
            with np.errstate(invalid="ignore"):  # damaged files hold numbers that signal
                exact = (pixels.astype(np.float64) - self.black) / self.step
            finite = np.nan_to_num(exact, nan=0.0, posinf=255.0, neginf=0.0)
            levels = np.floor(finite) if whole else np.rint(finite)
        small: UInt8[np.ndarray, "*shape"] = levels.clip(0, 255).astype(np.uint8)
        return small


def span_of(pixels: Numbers) -> Span:
    """The span of one picture."""
    whole = pixels.dtype.kind in "iub"
    held = pixels if whole else pixels[np.isfinite(pixels)]
    if not held.size:
        return Span(0.0, 0.0, whole, finite=False)
    low, high = float(held.min()), float(held.max())
    finite = held.size == pixels.size
    return Span(low, high, whole, finite, _usual(pixels, high) if finite else high)


def _usual(pixels: Numbers, high: float) -> float:
    """The brightest number of a picture but for strays, which are few, and each of them alone."""
    if pixels.size < ENOUGH:
        return high
    rank = pixels.size - 1 - math.ceil(STRAY * pixels.size)
    common = float(np.partition(pixels, rank, axis=None)[rank])
    if GLARING * common > high:
        return high
    return max(common, float(cv2.medianBlur(pixels.astype(np.float32), 3).max()))


def scale_for(span: Span) -> Scale:
    """The one scale of a sequence of that span.

    Integers count by the bits in use: of 12 bits the lower 4 are dropped. Floats from 0 to 1 take
    all levels. Other numbers, and those that would leave fewer than `NARROW` levels, go from the
    sequence's own darkest to its brightest. Broken pixels of a camera do not count.
    """
    low, high = span.low, span.top
    strays = (
        "; the few single pixels that are far brighter become white" if high < span.high else ""
    )
    if span.whole and low >= 0:
        bits = int(high).bit_length()
        step = 2.0 ** (bits - 8)
        if high - low >= NARROW * step or high == low:
            told = f"they are taken as {bits}-bit ones{strays}"
            return Scale(0.0, step, told if strays or bits != SHORT else "")
    elif low >= 0 and high <= 1 and (high - low >= NARROW / 255 or high == low):
        return Scale(0.0, 1 / 255, f"0 becomes black and 1 white{strays}")
    step = (high - low) / 255 or 1.0
    return Scale(low, step, f"{low:g} becomes black and {high:g} white{strays}")


def as_rgb(pixels: Levels) -> UInt8[np.ndarray, "H W 3"]:
    """Grey as three equal channels; colours as they are."""
    return np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels


def count_levels(frame: UInt8[np.ndarray, "*shape"]) -> Float[np.ndarray, " 256"]:
    """How many numbers of a picture have each level."""
    counts = cv2.calcHist([frame.reshape(1, -1)], [0], None, [256], [0, 256])
    exact: Float[np.ndarray, " 256"] = counts.ravel().astype(np.float64)
    return exact


def levels_in_use(counts: Float[np.ndarray, " 256"]) -> int:
    """How many levels lie between the darkest and the brightest pixels, strays not counted.

    counts: `count_levels`, summed over a sequence.
    """
    share = np.cumsum(counts) / max(counts.sum(), 1)
    dark = int(np.count_nonzero(share <= STRAY))
    bright = int(np.count_nonzero(share < 1 - STRAY))
    return max(bright - dark, 0) + 1
