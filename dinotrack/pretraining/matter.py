"""What painted things are made of: colours, and surfaces in them.

A surface is one function and one line in `MATTERS`; those of `synthesis.textures` are used too.
"""

import cv2
import numpy as np
from jaxtyping import Float

from dinotrack.synthesis.textures import (
    TEXTURES,
    Colours,
    Painter,
    Palette,
    Picture,
    octaves,
    texture,
)

Generator = np.random.Generator
Plane = Float[np.ndarray, "n n"]


def colours(count: int, rng: Generator) -> Palette:
    """`count` colours as in nature, float32 RGB in [0, 255].

    They have much luminance and little chroma, most of it between warm and cold.
    """
    grey = rng.uniform(0.08, 0.95, count)
    spread = rng.choice((0.03, 0.1, 0.22), p=(0.3, 0.5, 0.2))
    tint = rng.normal(0.02, 1, 2)[:, None] * spread
    warm, green = tint + 0.5 * spread * rng.standard_normal((2, count))
    rgb = np.stack((grey + warm, grey + 0.6 * green, grey - warm - 0.4 * green), -1)
    return np.asarray(255 * rgb.clip(0, 1), np.float32)


def matter(size: int, rng: Generator) -> Picture:
    """A surface of size x size px: one of many kinds, or one that turns into another."""
    image = _plain_matter(size, rng)
    if rng.uniform() < 0.25:
        other = _plain_matter(size, rng)
        amount = (0.5 + rng.uniform(1, 4) * octaves(size, rng)).clip(0, 1)[..., None]
        image = (image + amount * (other - image.astype(np.float32))).astype(np.uint8)
    if rng.uniform() < 0.35:  # many real surfaces hardly show a texture
        mean = image.reshape(-1, 3).mean(0)
        image = (mean + rng.uniform(0.1, 0.5) * (image - mean)).astype(np.uint8)
    return image


def _plain_matter(size: int, rng: Generator) -> Picture:
    kinds = [*TEXTURES, *MATTERS]
    kind = kinds[rng.choice(len(kinds))]
    if kind in TEXTURES:
        return texture(kind, size, rng.uniform() ** 2, rng)
    image = MATTERS[kind](size, colours(6, rng), rng)
    image = image * (1 + rng.uniform(0, 0.3) * octaves(size, rng)[..., None])
    blurred = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7)
    return np.asarray(blurred.clip(0, 255).astype(np.uint8))


def _smooth(size: int, palette: Palette, rng: Generator) -> Colours:
    """A gradient between two colours."""
    x, y = _turned(size, rng)
    amount = (0.5 + (x + 0.3 * y) / size).clip(0, 1)[..., None]
    return np.asarray(palette[0] + amount * (palette[1] - palette[0]))


def _checks(size: int, palette: Palette, rng: Generator) -> Colours:
    """Tiles, bricks and checks with joints, each a little different."""
    x, y = _turned(size, rng)
    width, height = np.exp(rng.uniform(np.log(6), np.log(40), 2))
    row = np.floor(y / height)
    x = x + (row % 2) * width * rng.choice((0.0, 0.5))
    column = np.floor(x / width)
    key = (row * 57 + column * 131).astype(int) % 64
    bricks = palette[rng.integers(0, 3, 64)] * rng.uniform(0.8, 1.15, (64, 1))
    along = (x / width - column) * width
    across = (y / height - row) * height
    joint = (along < 1.5) | (across < 1.5)
    shown = joint & (rng.uniform() < 0.6)
    return np.asarray(np.where(shown[..., None], palette[4], bricks[key]))


def _spots(size: int, palette: Palette, rng: Generator) -> Colours:
    """Spots of one colour on another, like fur and leaves."""
    noise = octaves(size, rng) + rng.uniform(-0.2, 0.2)
    amount = (0.5 + rng.uniform(3, 12) * noise).clip(0, 1)[..., None]
    return np.asarray(palette[0] + amount * (palette[1] - palette[0]))


def _strokes(size: int, palette: Palette, rng: Generator) -> Colours:
    """Many thin strokes in about one direction, like grass and hair."""
    image = np.tile(palette[0], (size, size, 1))
    angle = rng.uniform(0, np.pi)
    spread = rng.uniform(0.05, 1.0)
    length = rng.uniform(0.05, 0.3) * size
    for _ in range(int(rng.uniform(0.5, 1.5) * size * size / (12 * length + 1))):
        start = rng.uniform(0, size, 2)
        turn = angle + spread * rng.standard_normal()
        end = start + length * np.array((np.cos(turn), np.sin(turn)))
        colour = (palette[rng.integers(1, 5)] * rng.uniform(0.8, 1.2)).tolist()
        width = int(rng.integers(1, 4))
        cv2.line(image, pixel(start), pixel(end), colour, width, cv2.LINE_AA)
    return image


def _signs(size: int, palette: Palette, rng: Generator) -> Colours:
    """Letters and numbers, as on cloth and walls."""
    image = np.tile(palette[0], (size, size, 1)).astype(np.uint8)  # OpenCV writes into bytes only
    for _ in range(int(rng.integers(3, 14))):
        text = "".join(chr(c) for c in rng.integers(48, 91, rng.integers(1, 6)))
        scale = rng.uniform(0.3, 1.6)
        colour = palette[rng.integers(1, 6)].tolist()
        font = int(rng.integers(0, 8))
        place = pixel(rng.uniform(-0.1, 0.9, 2) * size)
        cv2.putText(image, text, place, font, scale, colour, 2, cv2.LINE_AA)
    return image.astype(np.float32)


def _polygons(size: int, palette: Palette, rng: Generator) -> Colours:
    """Dead leaves with corners: straight-edged shapes with power-law sizes, as of buildings and
    rocks."""
    image = np.tile(palette[0], (size, size, 1))
    smallest = 4.0
    largest = max(size / 3, 6.0)
    for _ in range(int(size * size / 250)):
        radius = rng.uniform(largest**-1.6, smallest**-1.6) ** (-1 / 1.6)
        centre = rng.uniform(0, size, 2)
        corners = centre + radius * rng.uniform(-1, 1, (int(rng.integers(3, 6)), 2))
        colour = (palette[rng.integers(len(palette))] * rng.uniform(0.7, 1.2)).tolist()
        cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    return image


MATTERS: dict[str, Painter] = {
    "smooth": _smooth,
    "checks": _checks,
    "spots": _spots,
    "strokes": _strokes,
    "signs": _signs,
    "polygons": _polygons,
}
"""Surfaces that only pretraining paints."""


def pixel(xy: Float[np.ndarray, " 2"]) -> tuple[int, int]:
    """The pixel that OpenCV shall draw at."""
    return int(xy[0]), int(xy[1])


def _turned(size: int, rng: Generator) -> tuple[Plane, Plane]:
    """Coordinates from the centre of size x size px along two turned axes."""
    axis = np.arange(size, dtype=np.float32) - size / 2
    angle = rng.uniform(0, np.pi)
    cosine = np.cos(angle)
    sine = np.sin(angle)
    return cosine * axis[None] + sine * axis[:, None], cosine * axis[:, None] - sine * axis[None]
