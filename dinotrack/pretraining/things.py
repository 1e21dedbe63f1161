"""Painted things, with outline, matter and shading, and worlds full of such things.

An outline is one function and one line in `OUTLINES`.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from dinotrack.pretraining.matter import matter, pixel
from dinotrack.synthesis.textures import Alpha, Picture, blob, rounded

Generator = np.random.Generator
Thing = UInt8[np.ndarray, "n n 4"]
"""RGB and alpha."""
World = UInt8[np.ndarray, "side side 4"]
"""RGB and alpha, which is opaque."""


def paint_thing(radii: tuple[float, float], rng: Generator) -> Thing:
    """One thing, whose radius is log-uniform in radii, px."""
    radius = int(np.exp(rng.uniform(*np.log(radii))))
    alpha = outline(radius, rng)
    rgb = matter(len(alpha), rng)
    if rng.uniform() < 0.3:  # a part of another matter, as clothes and faces are
        part = outline(max(int(radius * rng.uniform(0.3, 0.7)), 4), rng)
        patch = np.dstack((matter(len(part), rng), part))
        _paste(rgb, patch, rng.uniform(0.3, 1.7, 2) * radius)
    style = rng.uniform()
    if style < 0.4:
        rgb = rounded(rgb, alpha)
    elif style < 0.75:
        rgb = lit(rgb, alpha, rng)
    return np.dstack((rgb, alpha))


def paint_world(side: int, things: Sequence[UInt8[np.ndarray, "_ _ 4"]], rng: Generator) -> World:
    """A background of side x side px: some matter, and dead leaves of the things in
    power-law sizes before it."""
    # At half the size, as backgrounds are mostly coarser, and four times as fast.
    half = matter(side // 2, rng)
    large = cv2.resize(half, (side, side), interpolation=cv2.INTER_CUBIC)
    grain = rng.uniform(0, 8) * rng.standard_normal((side, side, 1))
    world = (large + grain).clip(0, 255).astype(np.uint8)
    for _ in range(int(rng.choice((0, 8, 30, 80), p=(0.1, 0.25, 0.35, 0.3)))):
        thing = things[int(rng.integers(len(things)))]
        placed = _turned_and_zoomed(thing, rng)
        tint = rng.uniform(0.7, 1.2) * rng.uniform(0.9, 1.1, 3)
        placed[..., :3] = (placed[..., :3] * tint).clip(0, 255)
        _paste(world, placed, rng.uniform(0, side, 2))
    return np.dstack((world, np.full((side, side), 255, np.uint8)))


def lit(image: Picture, alpha: Alpha, rng: Generator) -> Picture:
    """The texture of a bulging shape under a lamp from one side."""
    depth = cv2.distanceTransform((alpha > 127).astype(np.uint8), cv2.DIST_L2, 5)
    top = depth.max() + 1e-3
    bulge = np.sqrt(1 - (1 - depth / top) ** 2) * top
    height = cv2.GaussianBlur(bulge, (0, 0), 1 + 0.1 * top)
    across = cv2.Sobel(height, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(height, cv2.CV_32F, 0, 1)
    gradient = np.stack((across, down), -1) / 8
    angle = rng.uniform(0, 2 * np.pi)
    lamp = np.array((np.cos(angle), np.sin(angle)), np.float32)
    facing = -(gradient @ lamp) + rng.uniform(0.3, 1.0)
    steepness = np.sqrt(1 + (gradient**2).sum(-1))
    shade = rng.uniform(0.35, 0.7) + 0.6 * (facing / steepness).clip(0, 1)
    gloss = rng.choice((0.0, 80.0)) * (facing - facing.max() + 0.15).clip(0, 0.15) / 0.15
    out = image * shade[..., None] + gloss[..., None]
    return np.asarray(out.clip(0, 255).astype(np.uint8))


# --- outlines


def outline(radius: int, rng: Generator) -> Alpha:
    """The alpha of a thing, of 2 radius + 1 px a side, in one of the ways of OUTLINES."""
    shares = [share for share, _ in OUTLINES.values()]
    kind = rng.choice(list(OUTLINES), p=shares)
    _, draw = OUTLINES[kind]
    return draw(radius, rng)


def _limbs(radius: int, rng: Generator) -> Alpha:
    """A body with limbs."""
    alpha, middle = _empty(radius)
    for _ in range(int(rng.integers(3, 8))):
        _draw_limb(alpha, middle + 0.2 * radius * rng.standard_normal(2), rng)
    axes = pixel(radius * rng.uniform(0.15, 0.45, 2) + 1)
    turn = rng.uniform(0, 180)
    cv2.ellipse(alpha, pixel(middle), axes, turn, 0, 360, 255, -1, cv2.LINE_AA)
    return alpha


def _draw_limb(alpha: Alpha, start: Float[np.ndarray, " 2"], rng: Generator) -> None:
    """A limb that gets thinner, painted into alpha."""
    radius = len(alpha) / 2
    angle = rng.uniform(0, 2 * np.pi)
    thick = radius * rng.uniform(0.08, 0.3)
    for _ in range(int(rng.integers(2, 5))):
        angle += 0.6 * rng.standard_normal()
        length = radius * rng.uniform(0.15, 0.4)
        end = start + length * np.array((np.cos(angle), np.sin(angle)))
        end = end.clip(0.08 * radius, 1.92 * radius)
        cv2.line(alpha, pixel(start), pixel(end), 255, max(int(thick), 2), cv2.LINE_AA)
        start = end
        thick *= 0.75


def _polygon(radius: int, rng: Generator) -> Alpha:
    alpha, middle = _empty(radius)
    corners = _corners(middle, radius, rng)
    cv2.fillPoly(alpha, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    return alpha


def _frame(radius: int, rng: Generator) -> Alpha:
    """A polygon with a hole."""
    alpha, middle = _empty(radius)
    corners = _corners(middle, radius, rng)
    cv2.fillPoly(alpha, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    inner = middle + (corners - middle) * rng.uniform(0.5, 0.85)
    cv2.fillPoly(alpha, [inner.astype(np.int32)], 0, cv2.LINE_AA)
    return alpha


def _poles(radius: int, rng: Generator) -> Alpha:
    """Straight poles."""
    alpha, middle = _empty(radius)
    for _ in range(int(rng.integers(1, 4))):
        ends = middle + radius * rng.uniform(-0.9, 0.9, (2, 2))
        thick = max(int(radius * rng.uniform(0.04, 0.2)), 2)
        cv2.line(alpha, pixel(ends[0]), pixel(ends[1]), 255, thick, cv2.LINE_AA)
    return alpha


OUTLINES: dict[str, tuple[float, Callable[[int, Generator], Alpha]]] = {
    "blob": (0.45, blob),
    "limbs": (0.25, _limbs),
    "polygon": (0.15, _polygon),
    "frame": (0.05, _frame),
    "pole": (0.1, _poles),
}
"""The shapes of things: the share of the things that have it, and the function that draws it."""


def _empty(radius: int) -> tuple[Alpha, Float[np.ndarray, " 2"]]:
    """An alpha in which nothing is drawn, and its middle."""
    side = 2 * radius + 1
    return np.zeros((side, side), np.uint8), np.full(2, float(radius))


def _corners(
    middle: Float[np.ndarray, " 2"], radius: int, rng: Generator
) -> Float[np.ndarray, "K 2"]:
    """Corners around the middle."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
    reach = radius * rng.uniform(0.5, 0.95, len(angles))
    return middle + np.stack((np.cos(angles), np.sin(angles)), -1) * reach[:, None]


# --- putting things together


def _turned_and_zoomed(thing: Thing, rng: Generator) -> UInt8[np.ndarray, "m m 4"]:
    """A thing as it lies in a world."""
    zoom = rng.uniform(2.5**-1.5, 0.25**-1.5) ** (-1 / 1.5)
    centre = (len(thing) - 1) / 2
    turn: Float[np.ndarray, "2 3"] = np.asarray(
        cv2.getRotationMatrix2D((centre, centre), rng.uniform(0, 360), zoom), np.float64
    )
    size = int(len(thing) * zoom) + 3
    turn[:, 2] += (size - len(thing)) / 2
    return np.asarray(cv2.warpAffine(thing, turn, (size, size), flags=cv2.INTER_AREA))


def _paste(
    image: UInt8[np.ndarray, "h w 3"], thing: Thing, centre: Float[np.ndarray, " 2"]
) -> None:
    """Put a thing before the image, in place."""
    x = int(centre[0]) - len(thing) // 2
    y = int(centre[1]) - len(thing) // 2
    x0 = max(x, 0)
    y0 = max(y, 0)
    x1 = min(x + len(thing), image.shape[1])
    y1 = min(y + len(thing), image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    part = thing[y0 - y : y1 - y, x0 - x : x1 - x].astype(np.float32)
    below = image[y0:y1, x0:x1]
    image[y0:y1, x0:x1] = below + part[..., 3:] / 255 * (part[..., :3] - below)
