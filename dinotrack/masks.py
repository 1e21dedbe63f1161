"""What counts as inside a mask, whatever kind of numbers it is made of.

A mask is true and false. What users have is seldom that: 0 and 255, numbers of objects, grey edges,
probabilities. Here these become true and false, and what has no sure meaning is refused.
"""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Num

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.plain import plain_array

FLAT = 0.8
"""Of the pixels between darkest and brightest, in a picture of objects, at least so many lie among
equal ones. Measured: 0.98 and more for numbered objects down to 4 px; below 0.7 for soft edges,
blurs and what JPEG and WebP leave behind."""
FAINT = 64
"""Of 255: a lossy picture that is nowhere brighter shows noise and no mask."""
MUCH = 0.05
"""Of the pixels inside: from so many doubtful ones on, it is said how they were counted."""


def as_masks(masks: Any, shape: tuple[int, ...], name: str) -> Bool[np.ndarray, "..."]:
    """Masks as bool, from an array, lists or a tensor.

    True is what is not zero. Grey edges and probabilities count from the middle on: see `inside`.
    Warns (DinotrackWarning) of masks that hold every pixel, and where it is in doubt which ones
    they hold. Raises InputError, which calls them by `name`, where they are of another shape, hold
    no pixel, or what is no mask.
    """
    values = plain_array(masks, name)
    if values.shape != shape:
        raise InputError(
            f"the {name} has shape {values.shape}; give an array of the video's, {shape}"
        )
    found, word = inside(values, f"the {name}")
    if word:
        warnings.warn(word, DinotrackWarning, stacklevel=3)
    if not found.any():
        raise InputError(f"the {name} holds no pixel; give another one, or leave it out")
    if found.all():
        warnings.warn(f"the {name} holds every pixel", DinotrackWarning, stacklevel=3)
    return found


def inside(
    values: npt.NDArray[Any], what: str, lossy: bool = False
) -> tuple[Bool[np.ndarray, "..."], str]:
    """Where a mask [H, W], or each of [T, H, W], is true; and a sentence on how, where in doubt.

    lossy: whether the values were stored so that they are only nearly what they were.

    Numbers of objects, and two numbers of which one is zero, are inside where they are not zero. A
    grey picture with soft edges is inside from the middle of its range on, as is what was stored
    lossily, and fractions from 0.5 on, even if stored as greys. Raises InputError, which begins
    with `what`, for numbers below zero, for what is not finite, and for other fractions.
    """
    if values.dtype == np.bool_:
        return values, ""
    _check_range(values, what)
    high = float(values.max())
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        return _fractions(values, what)
    if lossy:
        bound = high / 2 if high >= FAINT else np.inf
    elif high >= _top(high) / 4 and _is_plateau(values, high) and _is_soft(values, high):
        bound = high / 2
    elif high >= _top(high) / 2 and _is_soft(values, high):
        bound = _top(high) / 2  # as of a map of probabilities
    else:
        return values != 0, ""
    return _from(values, bound, what)


def _fractions(values: Num[np.ndarray, "..."], what: str) -> tuple[Bool[np.ndarray, "..."], str]:
    """What fractions mean: two values, probabilities, or a grey picture that was resized."""
    high = float(values.max())
    if ((values == 0) | (values == high)).all():
        return values != 0, ""
    if high <= 1.001:  # probabilities, and what rounding adds
        word = f"{what} holds fractions; as with probabilities, 0.5 and more counts as inside"
        return values >= 0.5, word
    if 128 <= high <= 255:
        return _from(values, 127.5, what)
    raise InputError(
        f"{what} holds fractions up to {high:g}, which are no mask; "
        "give true and false, or probabilities from 0 to 1"
    )


def _from(
    values: Num[np.ndarray, "..."], bound: float, what: str
) -> tuple[Bool[np.ndarray, "..."], str]:
    """Inside from a bound on, and a word on that where many values lie near it."""
    found = values >= bound
    doubtful = (values > 0.5 * bound) & (values < 1.5 * bound)
    if np.count_nonzero(doubtful) <= MUCH * np.count_nonzero(found):
        return found, ""
    return found, f"{what} holds greys; {np.ceil(bound):g} and more counts as inside"


def _check_range(values: npt.NDArray[Any], what: str) -> None:
    if values.dtype.kind not in "iuf":
        raise InputError(f"{what} holds {values.dtype}; give true and false, or numbers")
    if not np.isfinite(values).all():
        raise InputError(f"{what} holds values that are no number; give true and false")
    low, high = values.min(), values.max()
    if low < 0:
        raise InputError(
            f"{what} holds values from {low:g} to {high:g}; "
            "give true and false, or probabilities from 0 to 1"
        )


def _top(high: float) -> float:
    """The brightest value of the range that a picture's brightest pixel belongs to."""
    return next((float(top) for top in (255, 65535) if high <= top), high)


def _is_plateau(values: Num[np.ndarray, "..."], high: float) -> bool:
    """Whether most of what is not zero has one brightness, as things of one grey have, whose edges
    alone fade."""
    return bool(2 * np.count_nonzero(values == high) >= np.count_nonzero(values))


def _is_soft(values: Num[np.ndarray, "..."], high: float) -> bool:
    """Whether the values between the darkest and the brightest are shades, not numbers of objects.

    The pixels of an object lie among equal ones, above or below and left or right. Those of an
    edge that fades don't.
    """
    between = flat = 0
    low = values.min()
    for picture in values.reshape(-1, *values.shape[-2:]):
        middle = (picture > low) & (picture < high)
        across = _has_equal_neighbour(picture, axis=1)
        along = _has_equal_neighbour(picture, axis=0)
        between += int(np.count_nonzero(middle))
        flat += int(np.count_nonzero(middle & across & along))
    return flat < FLAT * between


def _has_equal_neighbour(picture: Num[np.ndarray, "H W"], axis: int) -> Bool[np.ndarray, "H W"]:
    same = np.diff(picture, axis=axis) == 0
    outside = [(0, 0), (0, 0)]
    outside[axis] = (1, 1)
    padded = np.pad(same, outside)
    before, after = (padded[1:], padded[:-1]) if axis == 0 else (padded[:, 1:], padded[:, :-1])
    equal: Bool[np.ndarray, "H W"] = before | after
    return equal
