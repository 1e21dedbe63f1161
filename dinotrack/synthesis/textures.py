"""Textures and shapes painted by ourselves: natural-looking statistics, no photograph and no
licence needed."""

import colorsys
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def texture(kind: str, size: int, vivid: float, rng: np.random.Generator) -> Array:
    """A square opaque texture, uint8 [size, size, 3] RGB, slightly blurred so that warping does not
    alias.

    vivid: 0 for a quiet backdrop, 1 for a thing that stands out.
    """
    palette = _palette(vivid, rng)
    image = TEXTURES[kind](size, palette, rng)
    image = image * (1 + 0.25 * octaves(size, rng)[..., None])
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7).clip(0, 255).astype(np.uint8))


def octaves(size: int, rng: np.random.Generator) -> Array:
    """Smooth noise with a 1/f spectrum, float32 [size, size] in about [-1, 1]."""
    out, cells, weight = np.zeros((size, size), np.float32), 3, 1.0
    while cells < size / 2:
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        out += weight * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        cells, weight = cells * 2, weight / 1.7
    return np.asarray(np.tanh(out / 2))


def blob(radius: int, rng: np.random.Generator) -> Array:
    """A star-shaped outline around the centre, uint8 alpha [2 radius + 1, 2 radius + 1], its edge
    one pixel soft."""
    axis = np.arange(-radius, radius + 1, dtype=np.float32)
    stretch = np.exp(rng.uniform(-0.25, 0.25))
    x, y = axis[None] * stretch, axis[:, None] / stretch
    angle = np.arctan2(y, x)
    outline = sum(
        rng.uniform(0, 0.5 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 7)
    )
    outline = radius * np.exp(outline - np.max(outline)) * 0.75
    return np.asarray(((0.5 + outline - np.hypot(x, y)).clip(0, 1) * 255).astype(np.uint8))


def rounded(image: Array, alpha: Array) -> Array:
    """The texture of an opaque shape, darker towards its edge, so that it reads as a body. uint8
    [n, n, 3]."""
    depth = cv2.distanceTransform((alpha > 127).astype(np.uint8), cv2.DIST_L2, 5)
    shade = 0.55 + 0.5 * np.tanh(depth / (0.12 * depth.max() + 1))
    return np.asarray((image * shade[..., None]).clip(0, 255).astype(np.uint8))


def _palette(vivid: float, rng: np.random.Generator) -> Array:
    """Two related hues and a contrasting one, in several lightnesses: float32 [12, 3] RGB in [0,
    255]."""
    hue = rng.uniform()
    hues = hue + np.repeat((0.0, rng.uniform(0.04, 0.12), 0.5), (6, 4, 2))
    saturation = rng.uniform(0.1, 0.35, 12) + vivid * rng.uniform(0.2, 0.55, 12)
    value = rng.uniform(0.3, 0.75, 12) + 0.25 * vivid
    colours = [
        colorsys.hsv_to_rgb(h % 1, s, v) for h, s, v in zip(hues, saturation, value, strict=True)
    ]
    return 255 * np.array(colours, np.float32)


def _leaves(size: int, palette: Array, rng: np.random.Generator) -> Array:
    """Dead leaves (Lee, Mumford and Huang, 2001): opaque ellipses with power-law sizes, one over
    another."""
    image = np.tile(palette[0], (size, size, 1))
    smallest, largest = 3.5, max(size / 7, 4.0)
    for _ in range(int(size * size / 110)):
        radius = (rng.uniform(largest**-1.5, smallest**-1.5)) ** (-1 / 1.5)
        axes = (int(radius), int(radius * rng.uniform(0.4, 1)))
        centre = (int(rng.integers(size)), int(rng.integers(size)))
        colour = palette[rng.integers(len(palette))] * rng.uniform(0.75, 1.2)
        cv2.ellipse(
            image, centre, axes, rng.uniform(0, 180), 0, 360, colour.tolist(), -1, cv2.LINE_AA
        )
    return image


def _stripes(size: int, palette: Array, rng: np.random.Generator) -> Array:
    """Wavy bands of several widths in the palette's colours, like wood or cloth."""
    axis = np.arange(size, dtype=np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(24, 48)
    along = np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None]
    band = along / period + 1.2 * octaves(size, rng)
    index, part = np.divmod(band * 2, 1)
    lower, upper = (palette[(index.astype(int) + k) % len(palette)] for k in (0, 1))
    edge = (part[..., None] * period / 4).clip(0, 1)
    return np.asarray(lower + (upper - lower) * edge, np.float32)


def _clouds(size: int, palette: Array, rng: np.random.Generator) -> Array:
    """Noise mixed from three colours, with fine grain: skin, stone, sky."""
    image = np.tile(palette[0], (size, size, 1))
    for colour in palette[[4, 7, 11]]:
        amount = (0.5 + octaves(size, rng)).clip(0, 1)[..., None]
        image = image + amount * (colour - image)
    return np.asarray(image + 14 * rng.standard_normal((size, size, 1)), np.float32)


TEXTURES = {"leaves": _leaves, "stripes": _stripes, "clouds": _clouds}
