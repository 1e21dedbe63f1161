"""When the frames of a file are shown, told from its time stamps.

Time stamps are whole numbers of ticks, so those of an even video are off by up to a tick. The rate
that the file claims is taken where they agree with it; otherwise they are right, and the claim is
not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

DEFAULT_FPS = 24.0
"""Frames a second where nothing is said of them."""
MIN_FPS = 1 / 86_400
"""One a day; less is a broken header."""
MAX_FPS = 1_000_000.0
"""More than any camera takes, so it is a broken header."""
FINE = 100
"""Ticks a frame: then what is exactly even is no matter of rounding."""
ALIKE = 2e-6
"""Rates that differ by this share are one."""
JITTER = 0.02
"""Of the time between two frames: as far as they may be from even times and count as even."""
SLIGHT = 0.5
"""Of the mean time between two frames: without a word, frames may be so much further apart, and so
far from their even times. Phones, webcams and recorders of the screen are no more exact."""
DRIFT = 0.01
"""Of all frames: as many more each may be from its even time, as a slow clock adds up."""
CLEAR = 4
"""Frames: as many that lie exactly even by a coarse clock are no matter of rounding, unless a claim
says so."""
COARSE = 2
"""Ticks a frame: with fewer, two frames may have one time stamp, which does not tell their rate."""
GIF_TICK = Fraction(1, 100)
"""No other file has this clock. A GIF has no rate but its delays; what FFmpeg claims is a guess."""


@dataclass(frozen=True)
class Pace:
    """When frames are shown.

    fps: frames a second, the mean where times are uneven. uneven_times: seconds from the first
    frame; None where frame t is shown at t / fps. warning: what a user should know of this, or "".
    """

    fps: float
    uneven_times: Float[np.ndarray, " T"] | None = None
    warning: str = ""


def pace_of(stamps: Sequence[int], tick: Fraction, claimed: Fraction | None, count: int) -> Pace:
    """The pace of `count` frames with these time stamps, in ticks of so many seconds.

    claimed: frames a second that the file claims, None where it claims nothing.
    """
    ticks = np.asarray(stamps, np.int64)
    if count > 1 and len(ticks) == count:
        ticks = ticks - ticks[0]
        even = _even_pace(ticks, tick, claimed)
        if even is not None:
            return even
        if (np.diff(ticks) > 0).all():
            return _uneven(ticks, tick)
    if claimed is None:
        return Pace(DEFAULT_FPS, None, f"it has no frame rate; {DEFAULT_FPS:g} a second is taken")
    pace = _sensible(_exact(claimed))
    if count > 1 and not pace.warning:
        wrong = f"its time stamps are damaged; an even {pace.fps:.6g} frames a second is taken"
        return Pace(pace.fps, None, wrong)
    return pace


def is_writable(fps: float) -> bool:
    """Whether a file can be written at this rate."""
    return bool(MIN_FPS * (1 - ALIKE) <= fps <= MAX_FPS)


def _sensible(rate: Fraction) -> Pace:
    """An even pace. Where the rate makes no sense, that of `DEFAULT_FPS`, with a warning."""
    if is_writable(float(rate)):
        return Pace(float(rate))
    told = f"a rate of {float(rate):.4g} frames a second makes no sense; {DEFAULT_FPS:g} is taken"
    return Pace(DEFAULT_FPS, None, told)


def _even_pace(
    ticks: npt.NDArray[np.int64], tick: Fraction, claimed: Fraction | None
) -> Pace | None:
    """The pace of frames that are shown evenly; None where they are not."""
    last = int(ticks[-1])
    index = np.arange(len(ticks))
    if last <= 0:
        return None
    mean = Fraction(len(ticks) - 1) / (last * tick)
    step = last / (len(ticks) - 1)
    is_even = bool((ticks == index * step).all())
    # A tick of 1001 / 30000 s is a frame, and one that goes a hundred times into it is a fine clock
    if is_even and (tick.numerator > 1 or tick == GIF_TICK or step >= FINE):
        return _sensible(mean)
    if (
        claimed
        and tick != GIF_TICK
        and np.abs(ticks - index * float(1 / (claimed * tick))).max() <= 1
    ):
        return _sensible(_exact(claimed))
    if is_even and len(ticks) >= CLEAR:
        return _sensible(mean)
    longest = ((ticks[1:] + 1) / index[1:]).min()  # ticks a frame, as far as rounding allows
    shortest = ((ticks[1:] - 1) / index[1:]).max()
    if 0 < shortest <= longest:
        pace = _sensible(simplest(1 / (Fraction(longest) * tick), 1 / (Fraction(shortest) * tick)))
        return pace if step >= COARSE or pace.warning else _coarse(pace, tick)
    return _sensible(mean) if np.abs(ticks - index * step).max() <= JITTER * step else None


def _coarse(pace: Pace, tick: Fraction) -> Pace:
    told = (
        f"its time stamps, in steps of {float(tick):g} s, are too coarse to tell its rate exactly"
    )
    return Pace(pace.fps, None, f"{told}; {pace.fps:.6g} frames a second is taken")


def _exact(rate: Fraction) -> Fraction:
    """A claimed rate, which containers may round, as Matroska does to a nanosecond a frame."""
    whole = Fraction(round(rate))
    ntsc = Fraction(1000 * round(rate * Fraction(1001, 1000)), 1001)
    return next((near for near in (whole, ntsc) if abs(near - rate) <= ALIKE * rate), rate)


def simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction of the smallest denominator from `low` to `high`, both of which are positive."""
    whole = math.ceil(low)
    if whole <= high:
        return Fraction(whole)
    floor = whole - 1
    return floor + 1 / simplest(1 / (high - floor), 1 / (low - floor))


def _uneven(ticks: npt.NDArray[np.int64], tick: Fraction) -> Pace:
    times = ticks.astype(np.float64) * tick.numerator / tick.denominator
    gaps = np.diff(times)
    fps = float(len(gaps) / times[-1])
    if not is_writable(fps):
        return _sensible(Fraction(fps))
    late = np.abs(times * fps - np.arange(len(times))).max()
    if gaps.max() * fps - 1 <= SLIGHT and late <= SLIGHT + DRIFT * len(times):
        return Pace(fps, times)
    told = (
        f"its frame rate varies (frames follow each other after {gaps.min():.4g} to "
        f"{gaps.max():.4g} s); `times` says when each is shown, and {fps:.6g} a second is the mean"
    )
    return Pace(fps, times, told)
