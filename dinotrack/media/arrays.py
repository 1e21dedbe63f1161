"""Frames that are in memory already: arrays, tensors, and whatever gives one frame after another.

They are taken where it is sure what their numbers mean, and refused otherwise.
"""

import io
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from dinotrack.errors import InputError
from dinotrack.media.frames import Frame, Frames, frames_of, open_scratch, put
from dinotrack.media.levels import as_rgb
from dinotrack.plain import plain_array

WANTED = "a path, or frames uint8 [T, H, W, 3] of RGB (an array, a tensor or one after another)"

MOST_CHANNELS = 4
"""Of one picture. A last side that is no longer may be channels, and is not taken as a width."""


def frames_of_arrays(source: Any) -> Frames:
    """The frames of an array, a tensor, or anything that gives frames one after another.

    source: uint8 RGB [T, H, W, 3] or [T, 3, H, W], grey [T, H, W], or floats in [0, 1] of these
    shapes. An array uint8 [T, H, W, 3] is taken as it is; frames that come one after another are
    put into a scratch file. Raises InputError for anything else.
    """
    if _has_numbers(source):
        return _all_at_once(plain_array(source, "a video"))
    one_by_one = isinstance(source, Iterable) and not isinstance(
        source, str | bytes | bytearray | memoryview | Mapping | Set | io.IOBase
    )
    if not one_by_one:
        raise InputError(f"a video is {WANTED}, not {type(source).__name__}")
    return _one_by_one(source)


def _has_numbers(source: Any) -> bool:
    return hasattr(source, "__array__")  # as arrays and tensors have


def _all_at_once(array: npt.NDArray[Any]) -> Frames:
    """Frames of an array, or InputError that says what it is."""
    wanted = "uint8 RGB [T, H, W, 3], or floats in [0, 1], and not empty"
    kind = f"{array.dtype} {list(array.shape)}"
    wrong = InputError(f"a video array is {wanted}; not {kind}")
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise wrong
    if array.ndim == 3:  # three rows or columns may be channels of one picture
        if array.shape[0] == 3 or array.shape[-1] <= MOST_CHANNELS:
            raise wrong
    elif array.shape[-1] != 3:
        if array.shape[1] != 3 or array.shape[-1] <= MOST_CHANNELS:
            raise wrong
        array = array.transpose(0, 2, 3, 1)
    levels = _levels(array)
    if levels is None:
        raise wrong
    return levels if levels.ndim == 4 else np.repeat(levels[..., None], 3, axis=-1)


def _one_by_one(source: Iterable[Any]) -> Frames:
    """Frames of equal size, put into a scratch file as they come."""
    shape: tuple[int, ...] = ()
    count = 0
    with open_scratch() as store:
        for count, item in enumerate(source, 1):
            frame = _one(item, f"frame {count - 1}")
            shape = shape or frame.shape
            if frame.shape != shape:
                sizes = f"{frame.shape[1]} x {frame.shape[0]}, and frame 0 {shape[1]} x {shape[0]}"
                raise InputError(f"frame {count - 1} is {sizes}; all frames need one size")
            put(store, np.ascontiguousarray(frame).data)
        if not count:
            raise InputError(f"a video of no frames can't be tracked; give {WANTED}")
        return frames_of(store, (count, *shape))


def _one(item: Any, what: str) -> Frame:
    """One frame as uint8 RGB [H, W, 3]."""
    if not _has_numbers(item):
        raise InputError(f"{what} is no array but {type(item).__name__}; give {WANTED}")
    array = plain_array(item, what)
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[-1] > MOST_CHANNELS:
        array = array.transpose(1, 2, 0)
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3)
    levels = _levels(array) if is_picture and 0 not in array.shape else None
    if levels is None:
        kind = f"{array.dtype} {list(array.shape)}"
        raise InputError(f"{what} is {kind}; give frames uint8 RGB [H, W, 3], all of one size")
    return as_rgb(levels)


def _levels(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8] | None:
    """The levels that numbers mean: of uint8 themselves, of floats in [0, 1] times 255.

    None where their meaning isn't sure.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f" or not (array.min() >= 0 and array.max() <= 1):  # NaN is neither
        return None
    fractions = array.astype(np.promote_types(array.dtype, np.float32), copy=False)
    levels: npt.NDArray[np.uint8] = np.rint(fractions * 255).astype(np.uint8)
    return levels
