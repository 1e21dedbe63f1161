"""Masks of files: pictures of every kind, and numpy's arrays."""

import itertools
import os
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Num, UInt8

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.formats.numpy_files import read_npy
from dinotrack.masks import inside
from dinotrack.media.folders import images_in
from dinotrack.media.images import Stored, read_pages, read_stored

KIND = "a mask"
"""What messages call these files."""
OPAQUE = 250
"""Of 255: an alpha channel that is nowhere lower was not meant to cut anything out."""

Mask = Bool[np.ndarray, "H W"]


def read_mask(path: str | Path, size: tuple[int, int]) -> Mask:
    """Where a mask image, or .npy [H, W], holds a pixel.

    Where alpha varies, the mask is what is opaque. Else it is what is not zero or black; in a grey
    picture with soft edges, and in what was stored lossily, what is brighter than the middle.

    Warns (DinotrackWarning) where that leaves doubt. Raises InputError where its size is not
    (H, W), and for a file of several pictures.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        values = read_npy(path, KIND, lambda shape, dtype: _check_shape(path, shape, size))
        mask, word = inside(values, str(path))
    else:
        mask, word = _picture(path, size)
        if len(_pages(path, 2, size)) > 1:
            raise InputError(f"{path}: holds several pictures; give one as the mask")
    _warn(word)
    return mask


def read_masks(path: str | Path, length: int, size: tuple[int, int]) -> Bool[np.ndarray, "T H W"]:
    """Masks of all `length` frames of a video of size (H, W), each read as `read_mask` reads one.

    path: one image or .npy [H, W] for all frames, which gives a read-only view; .npy [T, H, W]; a
    file of T pictures, such as a TIFF stack; or a folder of T images in natural order. Raises
    InputError for another number or size.
    """
    path = Path(path)
    if os.path.isdir(path):  # which takes names of any length
        return _folder(path, length, size)
    if path.suffix.lower() == ".npy":
        masks, word = _array(path, length, size)
    else:
        masks, word = _picture(path, size)
        pages = _pages(path, length + 1, size)
        if len(pages) > 1:
            _check_count(path, len(pages), length)
            masks, word = inside(np.stack(pages), str(path))
    _warn(word)
    return masks if masks.ndim == 3 else np.broadcast_to(masks, (length, *size))


def _folder(folder: Path, length: int, size: tuple[int, int]) -> Bool[np.ndarray, "T H W"]:
    files = images_in(folder)
    _check_count(folder, len(files), length)
    masks = np.empty((length, *size), np.bool_)
    words = []
    for t, file in enumerate(files):
        masks[t], word = _picture(file, size)
        words += [word] if word else []
    if words:
        others = f" (and so on in {len(words) - 1} more)" if len(words) > 1 else ""
        _warn(words[0] + others)
    return masks


def _array(path: Path, length: int, size: tuple[int, int]) -> tuple[Bool[np.ndarray, "..."], str]:
    def look(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if len(shape) == 3:
            _check_count(path, shape[0], length)
        _check_shape(path, shape[1:] if len(shape) == 3 else shape, size)

    return inside(read_npy(path, KIND, look), str(path))


def _picture(path: Path, size: tuple[int, int]) -> tuple[Mask, str]:
    """The mask of one picture, and a word where there is doubt."""
    stored = read_stored(path, lambda found: _check_shape(path, found, size))
    if stored.alpha is not None and _cuts_out(stored.alpha):
        low, high = int(stored.alpha.min()), int(stored.alpha.max())
        return stored.alpha >= (low + high) / 2, ""
    if stored.palette is not None:
        return _by_palette(stored, stored.palette, str(path))
    return inside(_brightest(stored.values), str(path), stored.lossy)


def _cuts_out(alpha: UInt8[np.ndarray, "H W"]) -> bool:
    return bool(alpha.min() < OPAQUE and alpha.min() != alpha.max())


def _by_palette(stored: Stored, palette: UInt8[np.ndarray, "N 3"], what: str) -> tuple[Mask, str]:
    """What is not the background: that is the one black colour, or else the index 0.

    The palettes of DAVIS begin with black. Programs that make files small put it anywhere.
    """
    indices = stored.values
    used = np.unique(indices)
    if used[-1] >= len(palette):
        return indices != 0, ""
    colours = palette[used]
    black = used[~colours.any(axis=1)]
    if len(black) != 1:
        return indices != 0, ""
    if (colours == colours[:, :1]).all():
        return inside(palette[indices, 0], what)
    return indices != black[0], ""


def _pages(path: Path, most: int, size: tuple[int, int]) -> list[Num[np.ndarray, "H W"]]:
    """The pictures of a file, each as its brightest channel; no more than `most`."""
    pages = read_pages(path, lambda found: _check_shape(path, found, size))
    return [_brightest(page) for page in itertools.islice(pages, most)]


def _brightest(values: npt.NDArray[Any]) -> Num[np.ndarray, "H W"]:
    return values.max(axis=-1) if values.ndim == 3 else values


def _warn(word: str) -> None:
    if word:
        warnings.warn(word, DinotrackWarning, stacklevel=3)


def _check_shape(path: Path, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    if shape != size:
        _refuse(path, shape, size)


def _refuse(path: Path, shape: tuple[int, ...], size: tuple[int, int]) -> NoReturn:
    is_picture = len(shape) == 2
    found = f"{shape[1]} x {shape[0]}" if is_picture else f"an array {list(shape)}"
    raise InputError(
        f"{path}: the mask is {found}, the video {size[1]} x {size[0]}; "
        "give a mask of the video's size"
    )


def _check_count(path: Path, count: int, length: int) -> None:
    if count != length:
        raise InputError(
            f"{path}: holds {count} masks, the video has {length} frames; give one a frame"
        )
