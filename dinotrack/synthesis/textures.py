"""Textures and shapes that we paint ourselves.

Their statistics are those of natural pictures, yet no photograph and no licence is needed.
"""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Picture = UInt8[np.ndarray, "n n 3"]
Alpha = UInt8[np.ndarray, "n n"]
Palette = Float[np.ndarray, "K 3"]
Colours = Float[np.ndarray, "n n 3"]
"""RGB in about [0, 255], before it is rounded."""
Painter = Callable[[int, Palette, np.random.Generator], Colours]
"""Called as painter(side, palette, rng)."""


def texture(kind: str, size: int, vivid: float, rng: np.random.Generator) -> Picture:
    """A square opaque RGB texture of size x size px, a little blurred, so that warping does not
    alias.

    kind: a key of TEXTURES. vivid: 0 for a quiet backdrop, 1 for a thing that stands out.
    """
    palette = _palette(vivid, rng)
    image = TEXTURES[kind](size, palette, rng)
    image = image * (1 + 0.25 * octaves(size, rng)[..., None])
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7).clip(0, 255).astype(np.uint8))


def octaves(size: int, rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
    """Smooth noise of size x size px with a 1/f spectrum, float32 in about [-1, 1]."""
    out = np.zeros((size, size), np.float32)
    cells = 3
    weight = 1.0
    while cells < size / 2:
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        out += weight * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        cells *= 2
        weight /= 1.7
    return np.asarray(np.tanh(out / 2))


def blob(radius: int, rng: np.random.Generator) -> Alpha:
    """A star-shaped outline around the centre of 2 radius + 1 px a side, its edge one pixel
    soft."""
    axis = np.arange(-radius, radius + 1, dtype=np.float32)
    stretch = np.exp(rng.uniform(-0.25, 0.25))
    x = axis[None] * stretch
    y = axis[:, None] / stretch
    angle = np.arctan2(y, x)
    bumps = sum(
        rng.uniform(0, 0.5 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 7)
    )
    outline = radius * np.exp(bumps - np.max(bumps)) * 0.75
    inside = (0.5 + outline - np.hypot(x, y)).clip(0, 1)
    return np.asarray((inside * 255).astype(np.uint8))


def rounded(image: Picture, alpha: Alpha) -> Picture:
    """The texture of an opaque shape, darker towards its edge, so that it reads as a body."""
    depth = cv2.distanceTransform((alpha > 127).astype(np.uint8), cv2.DIST_L2, 5)
    shade = 0.55 + 0.5 * np.tanh(depth / (0.12 * depth.max() + 1))
    return np.asarray((image * shade[..., None]).clip(0, 255).astype(np.uint8))


def _palette(vivid: float, rng: np.random.Generator) -> Palette:
    """Two related hues and a contrasting one, in several lightnesses: 12 colours, float32."""
    hue = rng.uniform()
    hues = hue + np.repeat((0.0, rng.uniform(0.04, 0.12), 0.5), (6, 4, 2))
    saturation = rng.uniform(0.1, 0.35, 12) + vivid * rng.uniform(0.2, 0.55, 12)
    value = rng.uniform(0.3, 0.75, 12) + 0.25 * vivid
    parts = zip(hues, saturation, value, strict=True)
    colours = [colorsys.hsv_to_rgb(h % 1, s, v) for h, s, v in parts]
    return 255 * np.array(colours, np.float32)


def _leaves(size: int, palette: Palette, rng: np.random.Generator) -> Colours:
    """Dead leaves (Lee, Mumford and Huang, 2001): opaque ellipses with power-law sizes, one over
    another."""
    image = np.tile(palette[0], (size, size, 1))
    smallest = 3.5
    largest = max(size / 7, 4.0)
    for _ in range(int(size * size / 110)):
        radius = (rng.uniform(largest**-1.5, smallest**-1.5)) ** (-1 / 1.5)
        axes = (int(radius), int(radius * rng.uniform(0.4, 1)))
        centre = (int(rng.integers(size)), int(rng.integers(size)))
        colour = (palette[rng.integers(len(palette))] * rng.uniform(0.75, 1.2)).tolist()
        turn = rng.uniform(0, 180)
        cv2.ellipse(image, centre, axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
    return image


def _stripes(size: int, palette: Palette, rng: np.random.Generator) -> Colours:
    """Wavy bands of several widths in the palette's colours, like wood or cloth."""
    axis = np.arange(size, dtype=np.float32)
    angle = rng.uniform(0, np.pi)
    period = rng.uniform(24, 48)
    along = np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None]
    band = along / period + 1.2 * octaves(size, rng)
    index, part = np.divmod(band * 2, 1)
    lower = palette[index.astype(int) % len(palette)]
    upper = palette[(index.astype(int) + 1) % len(palette)]
    edge = (part[..., None] * period / 4).clip(0, 1)
    return np.asarray(lower + (upper - lower) * edge, np.float32)


def _clouds(size: int, palette: Palette, rng: np.random.Generator) -> Colours:
    """Noise mixed from three colours, with fine grain: skin, stone, sky."""
    image = np.tile(palette[0], (size, size, 1))
    for colour in palette[[4, 7, 11]]:
        amount = (0.5 + octaves(size, rng)).clip(0, 1)[..., None]
        image = image + amount * (colour - image)
    return np.asarray(image + 14 * rng.standard_normal((size, size, 1)), np.float32)


TEXTURES: dict[str, Painter] = {"leaves": _leaves, "stripes": _stripes, "clouds": _clouds}
"""What a thing can look like."""
