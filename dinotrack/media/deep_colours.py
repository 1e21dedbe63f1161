"""Colours of more than 8 bits, which OpenCV decodes: Pillow drops their low bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import Shaped

Decoded = Shaped[np.ndarray, "H W"] | Shaped[np.ndarray, "H W 3"]
"""Grey or RGB, of the depth of the file."""


def decode(data: bytes) -> Decoded:
    """The first picture of a file's bytes. Raises ValueError where OpenCV knows no such one."""
    with _quiet():
        return _rgb(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def decode_page(path: Path, index: int) -> Decoded:
    """One page of a TIFF, counted from 0. Errors are those of `decode`."""
    with _quiet():
        _, decoded = cv2.imreadmulti(str(path), index, 1, flags=cv2.IMREAD_UNCHANGED)
    return _rgb(decoded[0] if decoded else None)


def turned(pixels: Decoded, orientation: int) -> Shaped[np.ndarray, "..."]:
    """Pixels upright, by the number that EXIF and TIFF call their orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _rgb(decoded: npt.NDArray[Any] | None) -> Decoded:
    """OpenCV's blue, green, red and alpha, as grey or RGB."""
    if decoded is None:
        raise ValueError("its kind of pixels isn't known")
    if decoded.ndim == 2:
        return decoded
    return decoded[..., 0] if decoded.shape[2] < 3 else decoded[..., 2::-1]


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV prints what it thinks of a file's private tags, in sound files too."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
