"""Pictures that explain: where a point is in a frame, and how similar the frame's cells are to it.

Arrays in, pictures out: nothing here knows of fits or of truth.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from dinotrack.geometry import Grid

Picture = UInt8[np.ndarray, "_ _ 3"]
"""RGB."""
Place = Float[np.ndarray, "2"]
"""(x, y) px of a frame."""
Colour = tuple[int, int, int]
"""RGB."""

TILE = 176
"""Px: the side of a crop."""
LEAST_CROP = 64.0
"""Px of the video that a crop shows at least."""
WIDE = 240
"""Px: the width of a whole frame."""
TRUE: Colour = (40, 220, 60)
FOUND: Colour = (255, 50, 40)
MATCH: Colour = (60, 150, 255)
RING = 6
"""Px: the radius of a ring."""
RIM: Colour = (0, 0, 0)
_SHIFT = 4
"""OpenCV draws at fractions of a pixel, of which there are 2 ** _SHIFT in one."""


def crop(frame: Picture, true: Place | None, found: Place | None) -> Picture:
    """A square of TILE px around one or two positions of a frame, both marked."""
    known = ((true, TRUE), (found, FOUND))
    marks = [(place, colour) for place, colour in known if place is not None]
    places = np.array([place for place, _ in marks], float)
    centre = (places.min(axis=0) + places.max(axis=0)) / 2
    reach = np.ptp(places, axis=0).max()
    scale = TILE / max(LEAST_CROP, 1.4 * reach)
    shift = TILE / 2 - scale * centre
    tile = _warp(frame, np.array((scale, scale)), shift, (TILE, TILE), cv2.BORDER_CONSTANT)
    for place, colour in marks:
        mark(tile, scale * place + shift, colour)
    return tile


def heat(
    frame: Picture,
    correlation: Float[np.ndarray, "h w"],
    grid: Grid,
    size: tuple[int, int],
    wide: int = WIDE,
) -> Picture:
    """A whole frame under a correlation map, dark below its median and hot at its best.

    grid: where the cells of the map lie on the working frame, whose size (H, W) is `size`. wide:
    the width of the picture, px.
    """
    height, width = frame.shape[:2]
    small = wide, round(wide * height / width)
    ratio = np.array((small[0] / size[1], small[1] / size[0]))
    low = float(np.median(correlation))
    most = max(float(correlation.max()) - low, 1e-6)
    level = ((correlation - low) / most).clip(0, 1).astype(np.float32)
    origin = (grid.origin + 0.5) * ratio - 0.5
    smooth = _warp(level, grid.stride * ratio, origin, small, cv2.BORDER_REPLICATE)
    colours = cv2.applyColorMap(np.rint(255 * smooth).astype(np.uint8), cv2.COLORMAP_INFERNO)
    hot = np.ascontiguousarray(colours[..., ::-1])
    grey = cv2.cvtColor(cv2.resize(frame, small, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.addWeighted(hot, 0.65, np.dstack((grey,) * 3), 0.35, 0), np.uint8)


def cells(
    frame: Picture,
    colours: UInt8[np.ndarray, "h w 3"],
    where: Bool[np.ndarray, "h w"],
    grid: Grid,
    size: tuple[int, int],
    wide: int = WIDE,
) -> Picture:
    """A whole frame whose cells have these colours where that is wanted; the rest is dark.

    grid, size, wide: as in `heat`.
    """
    height, width = frame.shape[:2]
    small = wide, round(wide * height / width)
    ratio = np.array((small[0] / size[1], small[1] / size[0]))
    origin = (grid.origin + 0.5) * ratio - 0.5
    place = grid.stride * ratio, origin, small
    drawn = _warp(colours, *place, cv2.BORDER_REPLICATE, cv2.INTER_NEAREST)
    inside = _warp(where.astype(np.uint8), *place, cv2.BORDER_REPLICATE, cv2.INTER_NEAREST)
    grey = cv2.cvtColor(cv2.resize(frame, small, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    dark = np.dstack((grey // 4,) * 3)
    return np.asarray(np.where(inside[..., None] > 0, drawn, dark), np.uint8)


def shrunk(frame: Picture, width: int) -> Picture:
    """A whole frame, so many px wide, or as wide as it is if that is less."""
    height, full = frame.shape[:2]
    if width >= full:
        return frame
    size = width, max(1, round(height * width / full))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def mark(picture: Picture, xy: Place, colour: Colour, reach: int = RING) -> None:
    """Draw a ring around a position (px of the picture), into the picture.

    reach: its radius, px.
    """
    inside = np.clip(xy, -100, max(picture.shape[:2]) + 100)
    centre = [round(2**_SHIFT * float(value)) for value in inside]
    radius = reach * 2**_SHIFT
    for thickness, shade in ((4, RIM), (2, colour)):
        cv2.circle(picture, centre, radius, shade, thickness, cv2.LINE_AA, _SHIFT)


def _warp(
    picture: np.ndarray,
    scale: Float[np.ndarray, "2"],
    shift: Float[np.ndarray, "2"],
    size: tuple[int, int],
    border: int,
    flags: int = cv2.INTER_LINEAR,
) -> np.ndarray:
    """A picture or map whose place p lies at scale p + shift, in a picture of `size` (W, H).

    border: what OpenCV puts where nothing is known. flags: how it reads between two pixels.
    """
    matrix = np.array(((scale[0], 0, shift[0]), (0, scale[1], shift[1])))
    warped = cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=border)
    return np.asarray(warped)
